package ledger

import (
	"slices"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"
)

// A script has every function that it calls, also on ways that few tests take: what is not
// its own is Lua's or Redis's.
func TestScripts_AreComplete(t *testing.T) {
	given := []string{"redis", "cjson", "KEYS", "ARGV", "math", "string", "table", "ipairs", "pairs", "tonumber", "tostring", "unpack", "type"}
	for name, src := range loadedSource {
		chunk, err := parse.Parse(strings.NewReader(src), name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		proto, err := lua.Compile(chunk, name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, global := range globals(proto) {
			if !slices.Contains(given, global) {
				t.Errorf("%s uses %s, which it does not have", name, global)
			}
		}
	}
}

// globals returns the names of the global variables that a function reads or writes.
func globals(p *lua.FunctionProto) (list []string) {
	for _, code := range p.Code {
		if op := int(code >> 26); op == lua.OP_GETGLOBAL || op == lua.OP_SETGLOBAL {
			list = append(list, p.Constants[code&0x3ffff].String())
		}
	}
	for _, inner := range p.FunctionPrototypes {
		list = append(list, globals(inner)...)
	}
	return list
}

func TestOnlyUsed(t *testing.T) {
	src := `
local function used(a) return a end
local function inner(a)
  if a then
    return used(a)
  end
end
-- unused() is only mentioned
local function unused(a)
  return inner(a)
end
local function outer(x) return pairs(inner(x)) end
local function field() return 1 end
return redis.field(outer(KEYS[1]))
`
	got := onlyUsed(takeApart(src))
	for _, name := range []string{"used", "inner", "outer"} {
		if !strings.Contains(got, "local function "+name+"(") {
			t.Errorf("%s is gone:\n%s", name, got)
		}
	}
	for _, name := range []string{"unused", "field"} {
		if strings.Contains(got, "local function "+name+"(") {
			t.Errorf("%s is still there:\n%s", name, got)
		}
	}
}
