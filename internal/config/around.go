package config

import (
	"slices"
	"strings"
)

// lookAround looks for variables that were meant for this program and do not
// reach it: with a byte order mark before the name, or misspelt.
func (c *Collector) lookAround(p Process) {
	if p.Environ == nil {
		return
	}
	for _, entry := range slices.Sorted(slices.Values(p.Environ())) {
		name, value, _ := strings.Cut(entry, "=")
		if plain, marked := strings.CutPrefix(name, "\ufeff"); marked && isDeclared(plain) {
			reporter{c: c}.refuse(plain, "has a byte order mark before its name, so that no program finds it: save the file that sets the environment as UTF-8 without one")
			continue
		}
		if isDeclared(name) || value == "" {
			continue
		}
		if near, is := slip(name); is {
			c.Warn(name, "is set, but there is no such setting; %s is the nearest", near)
		}
	}
}

// ourPrefixes begin the names of our settings and of hardly anything else. A name
// with one of them that is not a setting is a slip.
var ourPrefixes = []string{"WECHATPAY_", "PAYSCORE_", "COLLECT_", "CONFIRM_", "BILLING_", "GIVE_UP_", "SWEEP_"}

// isTests reports whether a variable belongs to this project's own tests.
func isTests(name string) bool {
	return strings.HasPrefix(name, "PAYSCORE_TEST_") || name == "PAYSCORE_FAULTPOINTS"
}

// slip returns the setting that a variable's name is nearest to, and whether the
// name is a slip at all. Other programs have variables that begin as ours do
// (REDIS_PORT, DATABASE_HOST), so any other name must be close to one of ours.
func slip(name string) (near string, is bool) {
	least := len(name)
	for _, d := range declared {
		if n := editDistance(name, d.Name); n < least {
			near, least = d.Name, n
		}
	}
	ours := slices.ContainsFunc(ourPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
	return near, ours && !isTests(name) || least <= 2 && len(name) >= 8 || least <= 1 && len(name) >= 6
}

// editDistance is the number of letters to insert, delete or replace to make b of a.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1) // from the letters of a so far to each beginning of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := before
			if a[i] != b[j] {
				replaced++
			}
			before = row[j+1]
			row[j+1] = min(row[j+1]+1, row[j]+1, replaced)
		}
	}
	return row[len(b)]
}
