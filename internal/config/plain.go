package config

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"

	"payscore-collector/internal/textsafe"
)

// What is on the command line and is no setting: arguments, and flags that no
// environment variable sets. Their commands judge them, except for what this file
// refuses.

// judgePlain refuses a secret of this environment, or the text of a key, in an
// argument or in a flag that is no setting. NewCollector does it for settings.
func judgePlain(ctx *kong.Context, known []knownSecret) error {
	for _, flag := range ctx.Flags() {
		if len(flag.Tag.Envs) == 0 && !isSettingFlag(flag.Name) {
			if what := misplacedIn(flag.Target, known); what != "" {
				return fmt.Errorf("--%s %s, which does not belong here", flag.Name, what)
			}
		}
	}
	for _, path := range ctx.Path {
		if path.Positional == nil {
			continue
		}
		if what := misplacedIn(path.Positional.Target, known); what != "" {
			return fmt.Errorf("the argument <%s> %s, which does not belong here", path.Positional.Name, what)
		}
	}
	return nil
}

// isSettingFlag reports whether a flag is a setting: Parse has moved its variable
// out of kong's model.
func isSettingFlag(name string) bool {
	for _, d := range AllDeclared() {
		if d.Flag == name {
			return true
		}
	}
	return false
}

func misplacedIn(target reflect.Value, known []knownSecret) string {
	switch target.Kind() {
	case reflect.Pointer:
		if !target.IsNil() {
			return misplacedIn(target.Elem(), known)
		}
	case reflect.Slice:
		for i := range target.Len() {
			if what := misplacedIn(target.Index(i), known); what != "" {
				return what
			}
		}
	case reflect.String:
		what := misplaced(target.String(), known)
		if what != "holds several lines" && what != "holds a control character" { // the command's business
			return what
		}
	}
	return ""
}

// flagValues are the values of settings on the command line, by their variables.
func flagValues(args []string) map[string]string {
	values := map[string]string{}
	for i, arg := range args {
		name, value, joined := strings.Cut(arg, "=")
		if !joined && i+1 < len(args) {
			value = args[i+1]
		}
		for _, d := range AllDeclared() {
			if name == "--"+d.Flag {
				values[d.Name] = value
			}
		}
	}
	return values
}

// hides reports whether a mistake's words have a piece of an argument in them
// that may not be repeated.
func hides(words string, args []string, known []knownSecret) bool {
	if knownIn(words, known) != "" {
		return true
	}
	for _, arg := range args {
		parts := []string{arg}
		if strings.HasPrefix(arg, "--") && !strings.HasPrefix(arg, pemBegin) {
			parts = strings.SplitN(arg[2:], "=", 2)
		}
		for _, part := range parts {
			if !textsafe.Repeatable(part) && sharePiece(words, part) {
				return true
			}
		}
	}
	return false
}

// sharePiece reports whether some bytes of value stand in words.
func sharePiece(words, value string) bool {
	const piece = 6
	for i := 0; i+piece <= len(value); i++ {
		if strings.Contains(words, value[i:i+piece]) {
			return true
		}
	}
	return false
}
