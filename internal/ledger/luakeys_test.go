package ledger_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Redis Cluster sends a script to the node of its KEYS, and refuses it before it
// has written anything where one of them is on its way to another node. A key that
// a script makes for itself is found missing midway, when half is written.
func TestScriptsTouchOnlyTheirKeys(t *testing.T) {
	var files []string
	for _, pattern := range []string{"scripts/*.lua"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatal(found, err)
		}
		files = append(files, found...)
	}
	var all []string
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, luaComment.ReplaceAllString(string(src), ""))
	}
	for i, file := range files {
		for _, wrong := range undeclaredKeys(all[i], all) {
			t.Errorf("%s: %s", filepath.Base(file), wrong)
		}
	}
	for _, src := range []string{
		"redis.call('GET', ARGV[1])",
		"redis.call('ZREM', a.prefix .. no, 1)",
		"redis.call('HGETALL', 'payscore:' .. no)",
		"local key = a.order .. no\nredis.call('DEL', key)",
		"local key = KEYS[1] .. no\nredis.call('DEL', key)",
		"local function f(k)\n  redis.call('DEL', k)\nend\nf(a.key)",
		"local function f(x, k)\n  redis.call('DEL', k)\nend\nf(KEYS[1], no)",
		"redis.call(command, KEYS[1])",
		"redis.call('EXISTS', unpack(a.keys))",
		"local t = {}\nt[1] = a.key\nredis.call('DEL', t[1])",
	} {
		if len(undeclaredKeys(src, []string{src})) == 0 {
			t.Errorf("nothing wrong is found in %q", src)
		}
	}
}

var (
	luaComment  = regexp.MustCompile(`--[^\n]*`)
	luaCall     = regexp.MustCompile(`redis\.call\(\s*([^,)]+)`)
	luaLocal    = regexp.MustCompile(`local ([\w, ]+) = ([^\n]*)`)
	luaFunction = regexp.MustCompile(`(?m)^\s*local function (\w+)\(([\w, ]*)\)`)
	luaKey      = regexp.MustCompile(`^(?:KEYS\[[^\]]+\]|unpack\(KEYS\b[^)]*\))$`)
	luaName     = regexp.MustCompile(`^\w+$`)
	luaElement  = regexp.MustCompile(`^(\w+)\[[^\]]+\]$`)
)

// keyless are commands whose first argument is no key, with the place of their
// key; -1 for none.
var keyless = map[string]int{"'TIME'": -1, "'XINFO'": 2, "'XGROUP'": 2}

// undeclaredKeys returns what a script touches that is not in KEYS, as far as its
// text says: a key is KEYS[…], several of them, a local of that, an element of a table of them, or
// the parameter of a function that is always called with one. all has every script,
// for their calls of one another's functions.
func undeclaredKeys(src string, all []string) (wrong []string) {
	asked := map[string]bool{}
	var isKey func(text, src string) bool
	isKey = func(text, src string) bool {
		text = strings.TrimSpace(text)
		if luaKey.MatchString(text) {
			return true
		}
		if m := luaElement.FindStringSubmatch(text); m != nil {
			set := regexp.MustCompile(`\b`+m[1]+`\[[^\]]+\] = ([^\n]+?)(?: end)?\n`).FindAllStringSubmatch(src, -1)
			return len(set) > 0 && !slices.ContainsFunc(set, func(s []string) bool { return !isKey(s[1], src) })
		}
		if !luaName.MatchString(text) {
			return false
		}
		if asked[text+src] {
			return true // a function that passes its own parameter on
		}
		asked[text+src] = true
		defer delete(asked, text+src)
		found := false
		for _, m := range luaLocal.FindAllStringSubmatch(src, -1) {
			names, values := split(m[1]), split(m[2])
			if i := slices.Index(names, text); i >= 0 {
				if found = i < len(values) && isKey(values[i], src); !found {
					return false
				}
			}
		}
		for _, m := range luaFunction.FindAllStringSubmatch(src, -1) {
			i := slices.Index(split(m[2]), text)
			if i < 0 {
				continue
			}
			for _, caller := range all {
				for _, args := range callsOf(m[1], caller) {
					if found = i < len(args) && isKey(args[i], caller); !found {
						return false
					}
				}
			}
		}
		return found
	}
	for _, m := range luaCall.FindAllStringSubmatchIndex(src, -1) {
		command := src[m[2]:m[3]]
		args := argumentsAt(src, m[0]+len("redis.call"))
		at, special := keyless[command]
		switch {
		case !strings.HasPrefix(command, "'"):
			wrong = append(wrong, "the command "+command+" is not in the text")
		case special && at < 0:
		default:
			if !special {
				at = 1
			}
			if at >= len(args) || !isKey(args[at], src) {
				wrong = append(wrong, "not in KEYS: redis.call("+strings.Join(args, ", ")+")")
			}
		}
	}
	return wrong
}

func split(s string) []string {
	parts := strings.Split(s, ",")
	for i, p := range parts {
		parts[i] = strings.TrimSpace(p)
	}
	return parts
}

// callsOf returns the arguments of each call of a function, its definition aside.
func callsOf(name, src string) (calls [][]string) {
	for _, m := range regexp.MustCompile(`(function )?\b`+name+`\(`).FindAllStringSubmatchIndex(src, -1) {
		if m[2] < 0 {
			calls = append(calls, argumentsAt(src, m[1]-1))
		}
	}
	return calls
}

// argumentsAt takes the arguments apart that stand in the bracket at a place.
func argumentsAt(src string, at int) (args []string) {
	depth, from := 0, at+1
	for i := at; i < len(src); i++ {
		switch src[i] {
		case '(', '{', '[':
			depth++
		case ')', '}', ']':
			if depth--; depth == 0 {
				return append(args, strings.TrimSpace(src[from:i]))
			}
		case ',':
			if depth == 1 {
				args, from = append(args, strings.TrimSpace(src[from:i])), i+1
			}
		case '\'':
			for i++; i < len(src) && src[i] != '\''; i++ {
			}
		}
	}
	return args
}
