package config

import (
	"fmt"
	"strings"

	"payscore-collector/internal/textsafe"
)

// Problem is one thing wrong with one setting.
type Problem struct {
	Setting string // the environment variable
	Text    string // goes on where the name ends: "is missing: ..."
}

// String is the whole sentence.
func (p Problem) String() string { return p.Setting + " " + p.Text }

// Problems is the error that says everything that is wrong with a
// configuration, in the order of the settings.
type Problems []Problem

// Error has one line a problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// ExitCode is the status that a program ends with for the sake of this error.
func (ps Problems) ExitCode() int { return ExitUsage }

// Collector gathers what is wrong (problems) and what is merely unwise
// (warnings) while settings are being read. The zero value is ready; NewCollector
// makes one that has looked at the values of all settings before. It is not for
// several goroutines at once.
type Collector struct {
	problems Problems
	warnings []string
	refused  map[string]bool // settings whose value was taken away; a problem has said why
}

// Problem adds one; the text goes on where the setting's name ends. Values stand
// in it in quotes (%q) and nowhere else: those that may not be repeated are taken
// out.
func (c *Collector) Problem(setting, format string, args ...any) {
	if c.refused[setting] {
		return
	}
	c.problems = append(c.problems, Problem{Setting: setting, Text: textsafe.ScrubQuoted(fmt.Sprintf(format, args...))})
}

// Warn adds a warning; the text goes on where the setting's name ends. See
// Problem for values in it.
func (c *Collector) Warn(setting, format string, args ...any) {
	c.warnings = append(c.warnings, setting+" "+textsafe.ScrubQuoted(fmt.Sprintf(format, args...)))
}

// Err is nil, or all problems so far as a Problems.
func (c *Collector) Err() error {
	if len(c.problems) == 0 {
		return nil
	}
	return c.problems
}

// Warnings are whole sentences.
func (c *Collector) Warnings() []string { return c.warnings }
