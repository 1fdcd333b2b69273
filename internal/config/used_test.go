package config

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A setting that is declared and not read would be accepted and do nothing.
func TestEverySettingIsRead(t *testing.T) {
	own := []reflect.Type{reflect.TypeFor[Work](), reflect.TypeFor[Log](), reflect.TypeFor[Order]()}
	inConfig, outside := readFields(t)
	for _, group := range groups {
		read := inConfig
		if slices.Contains(own, group) { // other packages work with its fields
			read = outside
		}
		for i := range group.NumField() {
			field := group.Field(i)
			name := declaredBy(field.Tag).Name
			twin, isFile := strings.CutSuffix(name, "_FILE")
			if isFile && isDeclared(twin) {
				continue // see TestSettingsInFiles
			}
			if name != "" && !read[group.Name()+"."+field.Name] {
				t.Errorf("%s: no production code reads %s.%s: pass it on, or take the setting away", name, group.Name(), field.Name)
			}
		}
	}
}

// readFields lists the fields of config's groups that production code reads: in this
// package, and in the others. What the demo's audit and a few files read does not count:
// they only report which settings are in force.
func readFields(t *testing.T) (inConfig, outside map[string]bool) {
	t.Helper()
	const module, root = "payscore-collector/", "../.."
	reports := []string{"presence.go", "check.go", "warnings.go"}
	fset := token.NewFileSet()
	packages := map[string][]*ast.File{} // by directory
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") ||
			strings.Contains(path, "testkit") || strings.Contains(path, "cmd/demo") || slices.Contains(reports, filepath.Base(path)) {
			return err
		}
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err == nil {
			packages[filepath.Dir(path)] = append(packages[filepath.Dir(path)], file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]*types.Package{}
	check := func(path string, files []*ast.File) (*types.Package, map[string]bool) {
		info := types.Info{Selections: map[*ast.SelectorExpr]*types.Selection{}}
		conf := types.Config{
			Error: func(error) {}, // other packages are unknown here, and so are their types
			Importer: importFunc(func(path string) (*types.Package, error) {
				if p := known[path]; p != nil {
					return p, nil
				}
				p := types.NewPackage(path, filepath.Base(path))
				p.MarkComplete()
				return p, nil
			}),
		}
		p, _ := conf.Check(path, fset, files, &info)
		read := map[string]bool{}
		for _, s := range info.Selections {
			if s.Kind() != types.FieldVal || s.Obj().Pkg() == nil || s.Obj().Pkg().Path() != module+"internal/config" {
				continue
			}
			// The field may be promoted: walk to the struct that declares it.
			owner := s.Recv()
			for _, i := range s.Index() {
				if pointer, ok := owner.Underlying().(*types.Pointer); ok {
					owner = pointer.Elem()
				}
				if named, ok := types.Unalias(owner).(*types.Named); ok && owner.Underlying().(*types.Struct).Field(i) == s.Obj() {
					read[named.Obj().Name()+"."+s.Obj().Name()] = true
				}
				owner = owner.Underlying().(*types.Struct).Field(i).Type()
			}
		}
		return p, read
	}
	configDir := filepath.Join(root, "internal/config")
	known[module+"internal/config"], inConfig = check(module+"internal/config", packages[configDir])
	outside = map[string]bool{}
	for dir, files := range packages {
		imports := slices.ContainsFunc(files, func(f *ast.File) bool {
			return slices.ContainsFunc(f.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == strconv.Quote(module+"internal/config") })
		})
		if !imports || dir == configDir {
			continue
		}
		_, read := check(module+dir, files)
		for field := range read {
			outside[field] = true
		}
	}
	return inConfig, outside
}

type importFunc func(path string) (*types.Package, error)

func (f importFunc) Import(path string) (*types.Package, error) { return f(path) }

// Every setting that this package makes something else of changes what it makes.
func TestEverySettingChangesSomething(t *testing.T) {
	other := newRSA(2048)
	key, public := pemOf("PRIVATE KEY", pkcs8(other)), pemOf("PUBLIC KEY", publicDER(other.Public()))
	file := func(data string) string { return writeFile(t, t.TempDir(), "f", []byte(data)) }
	const otherSecret = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	// A good value for each setting that is neither its default nor in base.
	values := map[string]string{
		"REDIS_URL": "redis://cache/7", "REDIS_URL_FILE": file("redis://cache/8"),
		"WECHATPAY_SERIAL_NO": "1A", "WECHATPAY_PRIVATE_KEY": string(key), "WECHATPAY_PRIVATE_KEY_FILE": file(string(key)),
		"WECHATPAY_PUBLIC_KEY_ID": "PUB_KEY_ID_9", "WECHATPAY_PUBLIC_KEY": string(public), "WECHATPAY_PUBLIC_KEY_FILE": file(string(public)),
		"WECHATPAY_API_V3_KEY": testAPIKey, "WECHATPAY_API_V3_KEY_FILE": file(testAPIKey),
		"WECHATPAY_BASE_URL": "https://a.example", "WECHATPAY_BACKUP_URL": "https://b.example",
		"MERCHANTS_FILE":      file("- mchid: 1900000007\n  serial_no: 1B\n  private_key_file: " + file(string(key)) + "\n  api_v3_key: " + testAPIKey + "\n"),
		"BILLING_WEBHOOK_URL": "https://other.example/", "BILLING_WEBHOOK_SECRET": otherSecret, "BILLING_WEBHOOK_SECRET_FILE": file(otherSecret),
	}
	type made struct {
		redis, merchants, webhook any
	}
	load := func(t *testing.T, env map[string]string) made {
		t.Helper()
		w, err := loadWorker(t, env)
		if err != nil {
			t.Fatal(err)
		}
		return made{w.Redis, w.Merchants, w.Webhook}
	}
	base := merged(goodEnv(t), map[string]string{"BILLING_WEBHOOK_URL": "https://billing.example/", "BILLING_WEBHOOK_SECRET": testWebhookSecret})
	usual := load(t, base)
	if !reflect.DeepEqual(load(t, base), usual) {
		t.Fatal("the same settings load differently: this test would see nothing")
	}
	for _, group := range []any{RedisFlags{}, MerchantFlags{}, WebhookFlags{}} {
		for i := range reflect.TypeOf(group).NumField() {
			name := declaredBy(reflect.TypeOf(group).Field(i).Tag).Name
			if strings.HasPrefix(name, "REDIS_TLS_") {
				continue // see TestRedisTLS
			}
			value, ok := values[name]
			if !ok {
				t.Errorf("%s: this test has no value for it", name)
				continue
			}
			changed := merged(merged(map[string]string{}, base), map[string]string{name: value})
			delete(changed, strings.TrimSuffix(name, "_FILE")+"_FILE")
			if twin, isFile := strings.CutSuffix(name, "_FILE"); isFile {
				delete(changed, twin)
				changed[name] = value
			}
			if name == "MERCHANTS_FILE" {
				for other := range changed {
					if strings.HasPrefix(other, "WECHATPAY_") {
						delete(changed, other)
					}
				}
			}
			if reflect.DeepEqual(load(t, changed), usual) {
				t.Errorf("%s changes nothing", name)
			}
		}
	}
}
