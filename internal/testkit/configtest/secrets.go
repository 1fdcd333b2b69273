// Package configtest feeds every secret to every setting, flag and argument of a
// command, and reads all that the command says. The places come from the command's
// own declaration, so that a new flag is covered by being declared.
package configtest

import (
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"payscore-collector/internal/config"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
)

// MerchantEnv is the environment of a worker of a simulated merchant: all that is
// needed but REDIS_URL.
func MerchantEnv(t testing.TB) map[string]string {
	t.Helper()
	sim, err := simulator.New(simulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	dir, err := os.MkdirTemp("", "merchant") // the test's own name may not be fit for a shell
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := sim.WriteMerchantDir(dir, "http://127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, simulator.FileEnvironment))
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			env[name] = value
		}
	}
	return env
}

// The secrets that are fed.
const (
	apiV3Key      = "k7Qm2Xv9Tz4Lp8Rb1Ns6Wd3Yh5Gc0Jf2"
	adminToken    = "vN3-tq8ZJx0Lr5Kd_7WcYp2Hs9Gm4Bf6Ta1Qe"
	webhookSecret = "whsec_Zk3uQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwA7xN5pWm4c="
	redisPassword = "t9Wq4Zs7Lk2Np6"
	dbPassword    = "b3Hy8Vn5Cx1Md7"
	hookToken     = "f6Jr2Kp9Xw4Gt8"

	redisURL    = "redis://user:" + redisPassword + "@127.0.0.1:1/0"
	databaseURL = "postgres://billing:" + dbPassword + "@127.0.0.1:1/billing"
	webhookURL  = "https://billing.example/hooks?token=" + hookToken
)

// Command is a command to feed.
type Command struct {
	// Grammar is a pointer to a fresh struct with kong's tags.
	Grammar any
	// Env is all that the command needs; a setting that it does not read does no
	// harm.
	Env map[string]string
	// Args is what each subcommand needs beside its name, by that name; of a
	// command without subcommands by the empty name.
	Args map[string][]string
	// Run runs the command once and returns all that it has written, to standard
	// output, standard error and files.
	Run func(t *testing.T, env map[string]string, args []string) (output string)
}

// FeedMerchantsFile runs the command once for each secret in each field of a
// MERCHANTS_FILE, and in the places of a field's name and of the list.
func FeedMerchantsFile(t *testing.T, c Command, fields []string) {
	t.Helper()
	merchant := MerchantEnv(t)
	key, err := os.ReadFile(merchant["WECHATPAY_PRIVATE_KEY_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	pieces := piecesOf(string(key))
	good := map[string]string{
		"mchid": merchant["WECHATPAY_MCHID"], "serial_no": merchant["WECHATPAY_SERIAL_NO"], "api_v3_key": apiV3Key, "private_key": string(key),
		"appid": merchant["PAYSCORE_APPID"], "service_id": merchant["PAYSCORE_SERVICE_ID"],
	}
	yaml := func(fields map[string]string) string {
		text := "-\n"
		for name, value := range fields {
			text += "  " + name + ": " + strconv.Quote(value) + "\n" // JSON's strings are YAML's
		}
		return text
	}
	path := filepath.Join(t.TempDir(), "merchants.yaml")
	runs := 0
	for name, secret := range secretsOf(string(key)) {
		files := map[string]string{"the whole file": secret, "the list": "- " + secret, "a field's name": yaml(good) + "  " + secret + ": x\n", "two lists": yaml(good) + "---\n" + secret}
		for i, field := range fields {
			if _, ok := fed(secretsOf(string(key)), i, false)[name]; !ok {
				continue
			}
			files[field] = yaml(with(good, field, secret))
			files[field+", unquoted"] = yaml(without(good, field)) + "  " + field + ": " + secret + "\n"
			files[field+", alone"] = yaml(with(without(good, "api_v3_key", "private_key"), field, secret))
			files[field+", a block"] = yaml(without(good, field)) + "  " + field + ": |\n    " + strings.ReplaceAll(secret, "\n", "\n    ") + "\n"
		}
		for place, content := range files {
			runs++
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			output := c.Run(t, with(without(c.Env, "WECHATPAY_PRIVATE_KEY_FILE"), "MERCHANTS_FILE", path), c.Args[""])
			if piece := pieces.in(output); piece != "" {
				t.Errorf("%s in %s: the output repeats %q:\n%s", name, place, piece, output)
			}
		}
	}
	t.Logf("%d runs", runs)
}

func without(env map[string]string, names ...string) map[string]string {
	env = maps.Clone(env)
	for _, name := range names {
		delete(env, name)
	}
	return env
}

// FeedSecrets runs the command once for each secret in each place.
func FeedSecrets(t *testing.T, c Command) {
	t.Helper()
	merchant := MerchantEnv(t)
	key, err := os.ReadFile(merchant["WECHATPAY_PRIVATE_KEY_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	secrets := secretsOf(string(key))
	pieces := piecesOf(string(key))

	// All secrets stand where they belong, too.
	rightful := map[string]string{
		"WECHATPAY_PRIVATE_KEY": string(key), "WECHATPAY_API_V3_KEY": apiV3Key, "ADMIN_TOKEN": adminToken,
		"BILLING_WEBHOOK_SECRET": webhookSecret, "BILLING_WEBHOOK_URL": webhookURL, "REDIS_URL": redisURL, "DATABASE_URL": databaseURL,
	}
	good := maps.Clone(c.Env)
	maps.Copy(good, rightful)
	delete(good, "WECHATPAY_PRIVATE_KEY_FILE")

	dir := t.TempDir()
	runs := 0
	feed := func(place string, secret string, env map[string]string, args []string) {
		runs++
		output := c.Run(t, env, args)
		if piece := pieces.in(output); piece != "" {
			t.Errorf("%s in %s: the output repeats %q:\n%s", secret, place, piece, output)
		}
	}
	places := placesOf(t, c)
	byFlag := map[string]bool{} // settings that were fed as flags: subcommands share them
	for i, p := range places {
		repeated := p.setting != "" && byFlag[p.flag]
		byFlag[p.flag] = true
		for name, secret := range fed(secrets, i, repeated) {
			if p.setting != "" {
				env := with(good, p.setting, secret)
				feed("$"+p.setting, name, env, p.args)
				// Alone: nothing but its form tells what it is.
				alone := maps.Clone(c.Env)
				if p.setting != "WECHATPAY_PRIVATE_KEY_FILE" && strings.HasPrefix(p.setting, "WECHATPAY_PRIVATE_KEY") {
					delete(alone, "WECHATPAY_PRIVATE_KEY_FILE")
				}
				feed("$"+p.setting+", alone", name, with(alone, p.setting, secret), p.args)
				if strings.HasSuffix(p.setting, "_FILE") {
					path := filepath.Join(dir, "content")
					if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
						t.Fatal(err)
					}
					feed("the file of $"+p.setting, name, with(good, p.setting, path), p.args)
				}
			}
			if repeated {
				continue
			}
			if p.flag != "" {
				feed(p.String(), name, good, append(slices.Clone(p.args), "--"+p.flag+"="+secret))
			}
			// A value of its own is parsed alike, unless it begins as a flag does.
			if p.flag == "" || strings.HasPrefix(secret, "-") {
				feed(p.String()+" apart", name, good, p.with(secret))
			}
		}
	}
	// Where there is no such place at all.
	for name, secret := range secrets {
		feed("an unknown flag", name, good, []string{"--" + secret})
		feed("an unknown flag's value", name, good, []string{"--no-such-flag=" + secret})
		feed("$"+config.EnvFile, name, with(good, config.EnvFile, secret), nil)
		file := filepath.Join(dir, "content")
		for _, content := range []string{secret, "NAME=" + secret + "\n" + secret + "\n"} {
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			feed("the file of $"+config.EnvFile, name, with(good, config.EnvFile, file), nil)
		}
		feed("an argument too many", name, good, []string{secret, secret})
	}
	t.Logf("%d runs: %d secrets in %d places", runs, len(secrets), len(places))
}

func with(env map[string]string, name, value string) map[string]string {
	env = maps.Clone(env)
	env[name] = value
	// The two ways to give one setting refuse each other.
	for _, suffix := range []string{"_FILE", "_file"} {
		if twin, ok := strings.CutSuffix(name, suffix); ok {
			delete(env, twin)
		}
	}
	return env
}

// fed returns the secrets that the nth place is fed with: the private key and every eighth
// other one, in the short form every 24th, beginning elsewhere at each place. repeated: another
// subcommand's place of the same setting was fed before, and this one gets half as many.
func fed(secrets map[string]string, n int, repeated bool) map[string]string {
	every := testkit.Form(24, 8)
	if repeated {
		every *= 2
	}
	some := map[string]string{"the private key": secrets["the private key"]}
	for i, name := range slices.Sorted(maps.Keys(secrets)) {
		if (i+n)%every == 0 {
			some[name] = secrets[name]
		}
	}
	return some
}

// secretsOf are the secrets in the forms that people paste them in, by name.
func secretsOf(key string) map[string]string {
	return map[string]string{
		"the private key":                     key,
		"the private key with literal \\n":    strings.ReplaceAll(key, "\n", `\n`),
		"the private key on one line":         strings.ReplaceAll(key, "\n", " "),
		"the private key without its frame":   strings.Join(strings.Split(strings.TrimSpace(key), "\n")[1:20], ""),
		"the private key in base64":           base64.StdEncoding.EncodeToString([]byte(key)),
		"the private key with CRLF":           strings.ReplaceAll(key, "\n", "\r\n"),
		"a line of the private key":           strings.Split(key, "\n")[5],
		"the APIv3 key":                       apiV3Key,
		"the APIv3 key with a line end":       apiV3Key + "\n",
		"the APIv3 key in quotes":             `"` + apiV3Key + `"`,
		"the APIv3 key among durations":       "10m," + apiV3Key,
		"the APIv3 key as a path":             "/merchant/" + apiV3Key,
		"ADMIN_TOKEN":                         adminToken,
		"BILLING_WEBHOOK_SECRET":              webhookSecret,
		"BILLING_WEBHOOK_URL":                 webhookURL,
		"REDIS_URL":                           redisURL,
		"REDIS_URL with an @ that is missing": "redis://" + redisPassword,
		"Redis's password":                    redisPassword,
		"Redis's password for a user":         "redis://" + redisPassword + "@127.0.0.1:1",
		"DATABASE_URL":                        databaseURL,
		"the APIv3 key in Redis's query":      "redis://127.0.0.1:1/0?" + apiV3Key,
		"a password in Redis's query":         "redis://127.0.0.1:1/0?password=" + redisPassword,
		"a password as Redis's database":      "redis://127.0.0.1:1/" + redisPassword,
		"a password as Redis's port":          "redis://127.0.0.1:" + redisPassword,
		"a password as Redis's time-out":      "redis://127.0.0.1:1/0?read_timeout=" + redisPassword,
		"a password as a sentinel's master":   "redis-sentinel://127.0.0.1:1?master=" + redisPassword,
		"a password in PostgreSQL's query":    "postgres://127.0.0.1:1/db?sslmode=" + dbPassword,
		"a password as PostgreSQL's database": "postgres://127.0.0.1:1/" + dbPassword,
		"a password as PostgreSQL's port":     "postgres://127.0.0.1:" + dbPassword + "/db",
		"the APIv3 key in WeChat Pay's URL":   "https://api.mch.weixin.qq.com/?key=" + apiV3Key,
		"the APIv3 key as WeChat Pay's host":  "https://" + apiV3Key,
		"PostgreSQL's password":               dbPassword,
	}
}

// pieceLength is how much of a secret no output may have.
const pieceLength = 12

// pieces are what may appear in no output.
type pieces map[string]bool

func piecesOf(key string) pieces {
	all := pieces{}
	lines := strings.Split(strings.TrimSpace(key), "\n")
	for _, secret := range append(slices.Clone(lines[1:len(lines)-1]), base64.StdEncoding.EncodeToString([]byte(key))[60:],
		apiV3Key, adminToken, strings.TrimPrefix(webhookSecret, "whsec_"), redisPassword, dbPassword, hookToken) {
		for i := 0; i+pieceLength <= len(secret); i++ {
			all[secret[i:i+pieceLength]] = true
		}
	}
	return all
}

// in returns the first piece that stands in an output, or "".
func (p pieces) in(output string) string {
	for i := 0; i+pieceLength <= len(output); i++ {
		if piece := output[i : i+pieceLength]; p[piece] {
			return piece
		}
	}
	return ""
}

// place is where a value may stand.
type place struct {
	args    []string // what comes before it
	flag    string   // the flag's name; empty for an argument
	arg     string   // the argument's name
	setting string   // its environment variable, if it has one
}

func (p place) String() string {
	if p.flag != "" {
		return strings.Join(append(slices.Clone(p.args), "--"+p.flag), " ")
	}
	return strings.Join(append(slices.Clone(p.args), "<"+p.arg+">"), " ")
}

func (p place) with(value string) []string {
	args := slices.Clone(p.args)
	if p.flag != "" {
		args = append(args, "--"+p.flag)
	}
	return append(args, value)
}

// placesOf are the flags and arguments of all subcommands.
func placesOf(t *testing.T, c Command) []place {
	t.Helper()
	model, err := config.Model(c.Grammar)
	if err != nil {
		t.Fatal(err)
	}
	leaves := model.Leaves(true)
	if len(leaves) == 0 {
		leaves = []*kong.Node{model.Node}
	}
	settings := map[string]bool{}
	for _, d := range config.AllDeclared() {
		settings[d.Name] = true
	}
	var all []place
	for _, leaf := range leaves {
		var path []string
		for n := leaf; n != nil && n.Type == kong.CommandNode; n = n.Parent {
			path = append([]string{n.Name}, path...)
		}
		needs, ok := c.Args[strings.Join(path, " ")]
		if !ok && len(path) > 0 {
			t.Fatalf("configtest is not told what the command %q needs", path)
		}
		for _, group := range leaf.AllFlags(true) {
			for _, flag := range group {
				if flag.Name == "help" {
					continue
				}
				p := place{args: append(slices.Clone(path), needs...), flag: flag.Name}
				for _, env := range flag.Tag.Envs {
					if !settings[env] {
						t.Errorf("config.AllDeclared does not know %s", env)
					}
					p.setting = env
				}
				all = append(all, p)
			}
		}
		for _, arg := range leaf.Positional {
			all = append(all, place{args: path, arg: arg.Name})
		}
	}
	if len(all) == 0 {
		t.Fatal(fmt.Errorf("the command takes nothing"))
	}
	return all
}

// Process is a command's surroundings: an environment, and one place for all that
// the command writes.
func Process(name string, env map[string]string, args []string, output io.Writer) config.Process {
	return config.Process{
		Name: name, Args: args, Stdout: output, Stderr: output,
		LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		Environ: func() (all []string) {
			for name, value := range env {
				all = append(all, name+"="+value)
			}
			return all
		},
	}
}
