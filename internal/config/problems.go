package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"payscore-collector/internal/textsafe"
)

// Problem is one thing wrong with one setting.
type Problem struct {
	Setting string // the environment variable
	Text    string // continues where the name ends: "is missing: ..."
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

// ExitCode is the status that a program ends with because of this error.
func (ps Problems) ExitCode() int { return ExitUsage }

// Collector gathers what is wrong (problems) and what is merely unwise (warnings)
// while settings are being read. Parse returns one that has read every single value.
// The zero value is ready. It is not safe for concurrent use.
type Collector struct {
	problems Problems
	warnings []string
	settings []*setting
	files    []string        // that were read
	refused  map[string]bool // settings without a value, because a problem has said what is wrong with it
}

// Problem adds one; the text continues where the setting's name ends. Values stand in
// it only in quotes (%q): those that may not be repeated are removed.
// A setting whose value has been refused gets no second problem.
func (c *Collector) Problem(setting, format string, args ...any) {
	reporter{c: c}.problem(setting, format, args...)
}

// Warn adds a warning; the text continues where the setting's name ends. See
// Problem for values in it.
func (c *Collector) Warn(setting, format string, args ...any) {
	reporter{c: c}.warn(setting, format, args...)
}

// Err is nil, or all problems so far as a Problems.
func (c *Collector) Err() error {
	if len(c.problems) == 0 {
		return nil
	}
	sorted := slices.Clone(c.problems)
	slices.SortStableFunc(sorted, func(a, b Problem) int { return cmp.Compare(rank(a.Setting), rank(b.Setting)) })
	return sorted
}

// Warnings are whole sentences.
func (c *Collector) Warnings() []string { return c.warnings }

// isGiven reports whether a setting has a value that is not its default.
func (c *Collector) isGiven(name string) bool {
	return slices.ContainsFunc(c.settings, func(s *setting) bool { return s.name == name && s.given })
}

// reporter adds problems of the environment, or of one merchant in a merchants file.
type reporter struct {
	c     *Collector
	where string // "FILE, line 3:" in a merchants file; empty for the environment
}

// name is how a field of a merchant is called in a sentence. Any other name is an
// environment variable.
func (r reporter) name(field string) string {
	if setting, ok := settingOf[field]; ok && r.where == "" {
		return setting
	}
	return field
}

func (r reporter) problem(field, format string, args ...any) {
	if r.hasRefused(field) {
		return
	}
	setting, text := r.sentence(field, format, args)
	r.c.problems = append(r.c.problems, Problem{Setting: setting, Text: text})
}

func (r reporter) warn(field, format string, args ...any) {
	setting, text := r.sentence(field, format, args)
	r.c.warnings = append(r.c.warnings, setting+" "+text)
}

func (r reporter) sentence(field, format string, args []any) (setting, text string) {
	text = textsafe.ScrubQuoted(fmt.Sprintf(format, args...))
	if r.where != "" {
		return "MERCHANTS_FILE", r.where + " " + field + " " + text
	}
	return r.name(field), text
}

// refuse reports a problem for which the setting has no value: no other is reported
// of it.
func (r reporter) refuse(field, format string, args ...any) {
	r.problem(field, format, args...)
	if r.c.refused == nil {
		r.c.refused = map[string]bool{}
	}
	r.c.refused[r.where+r.name(field)] = true
}

func (r reporter) hasRefused(field string) bool { return r.c.refused[r.where+r.name(field)] }
