package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"payscore-collector/internal/textsafe"
	"payscore-collector/internal/version"
)

// Exit statuses of Parse.
const (
	ExitOK    = 0
	ExitUsage = 2 // a mistake on the command line or in the configuration
)

// Process is what a program is given from outside. Tests give it something else than
// the real thing.
type Process struct {
	Name      string // of the program, for --help and errors
	Args      []string
	LookupEnv func(string) (string, bool)
	Environ   func() []string                // all NAME=value; may be nil: then no misspelt names are looked for
	SetEnv    func(name, value string) error // takes what EnvFile brings; may be nil
	Stdout    io.Writer
	Stderr    io.Writer
}

// env is a variable's value, empty if it is not set.
func (p Process) env(name string) string {
	if p.LookupEnv == nil {
		return ""
	}
	value, _ := p.LookupEnv(name)
	return value
}

// OSProcess is the real thing.
func OSProcess(name string) Process {
	return Process{Name: name, Args: os.Args[1:], LookupEnv: os.LookupEnv, Environ: os.Environ, SetEnv: os.Setenv, Stdout: os.Stdout, Stderr: os.Stderr}
}

// Main runs a program, and ends the process with the status that it returns. SIGTERM or
// Ctrl-C ends the program's context.
func Main(name string, run func(context.Context, Process) int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, OSProcess(name))
	stop()
	os.Exit(status)
}

// Say writes a sentence to standard error behind the program's name, as one line.
// Words from outside in it cannot control the terminal, and quoted parts that may be a
// secret are left out.
func (p Process) Say(sentence string) {
	fmt.Fprintf(p.Stderr, "%s: %s\n", p.Name, textsafe.Clean(textsafe.ScrubQuoted(sentence)))
}

// Complain says each line of an error.
func (p Process) Complain(err error) {
	for line := range strings.Lines(err.Error()) {
		p.Say(strings.TrimSuffix(line, "\n"))
	}
}

// Parsed is a command line that was understood, and what is wrong with the settings
// in it and in the environment.
type Parsed struct {
	*kong.Context
	*Collector
}

// Parse reads the command line and the environment into grammar, a pointer to a
// struct with kong's tags, in which groups of this package are embedded. The
// description is what --help begins with.
//
// If ok is false, the program must end with the given status, and everything has
// been said: after --help and --version (ExitOK), or after a mistake such as an
// unknown flag or command, which is reported on standard error (ExitUsage). What is
// wrong with a setting is no such mistake: it is in the result's Collector.
//
// Parse panics if grammar itself is wrong, which the first run shows.
func Parse(p Process, description string, grammar any) (parsed *Parsed, status int, ok bool) {
	p, fileErr := p.withEnvFile()
	var common struct {
		Version kong.VersionFlag `name:"version" help:"Say which build this is, and end."`
	}
	env := environment{lookup: p.LookupEnv, names: map[*kong.Value][]string{}}
	helped := false
	parser, settings, err := newParser(grammar,
		kong.Name(p.Name),
		kong.Embed(&common),
		kong.Vars{"version": p.Name + " " + version.Read().String()},
		kong.Description(description),
		kong.Writers(p.Stdout, p.Stderr),
		kong.Resolvers(env),
		kong.ValueFormatter(env.help),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		// kong exits by itself after --help and --version. Here it continues parsing
		// instead, and its complaints after that do not count.
		kong.Exit(func(int) { helped = true }),
	)
	if err != nil {
		panic(fmt.Sprintf("config: the command line of %s is declared wrongly: %v", p.Name, err))
	}
	env.takeOver(parser.Model)

	ctx, err := parser.Parse(p.Args)
	if helped {
		return nil, ExitOK, false
	}
	if fileErr != nil {
		p.Complain(fileErr)
		return nil, ExitUsage, false
	}
	known := knownSecrets(p, settings)
	if err == nil {
		err = refuseInArguments(ctx, known)
	} else if hides(err.Error(), known) {
		err = errors.New("the command line is wrong, and has a value in the wrong place that may be a secret; it is not repeated here")
	}
	if err != nil {
		p.Complain(err)
		fmt.Fprintf(p.Stderr, "Run \"%s --help\" for usage.\n", p.Name)
		return nil, ExitUsage, false
	}
	return &Parsed{ctx, collect(p, settings)}, ExitOK, true
}

func newParser(grammar any, options ...kong.Option) (*kong.Kong, []*setting, error) {
	settings := settingsIn(reflect.ValueOf(grammar).Elem())
	for _, s := range settings {
		options = append(options, kong.ValueMapper(s.field.Addr().Interface(), s))
	}
	parser, err := kong.New(grammar, options...)
	return parser, settings, err
}

// Model is what kong knows of grammar, see Parse.
func Model(grammar any) (*kong.Application, error) {
	parser, _, err := newParser(grammar, kong.Name("command"))
	if err != nil {
		return nil, err
	}
	return parser.Model, nil
}

// Decode implements kong.Mapper. It only keeps the text, so that kong stops at no
// malformed value.
func (s *setting) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto("string", &text); err != nil {
		return err
	}
	// kong resets the field itself to its default, before and after it has read
	// values into others.
	if target.Addr().UnsafePointer() != s.field.Addr().UnsafePointer() {
		s.text, s.given = text, true
	}
	return nil
}

// environment takes the place of kong's own reading of the environment, which
// knows only the process's and takes an empty variable for a value. Compose
// files write VAR=${VAR:-} for "as it is outside, if it is there at all".
type environment struct {
	lookup func(string) (string, bool)
	names  map[*kong.Value][]string
}

// takeOver moves the names that the env tags have given from kong's model here.
func (e environment) takeOver(app *kong.Application) {
	// The visitor returns no error, so Visit returns none.
	_ = kong.Visit(app, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok && len(flag.Tag.Envs) > 0 {
			e.names[flag.Value] = flag.Tag.Envs
			flag.Tag.Envs, flag.Envs = nil, nil
		}
		return next(nil)
	})
}

func (e environment) Validate(*kong.Application) error { return nil }

// Resolve is called by kong for each flag that the command line does not set.
func (e environment) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range e.names[flag.Value] {
		value, set := e.lookup(name)
		if set && (value != "" || flag.Tag.Has("empty")) {
			return value, nil
		}
	}
	return nil, nil
}

// help is a flag's help text with the environment variable behind it.
func (e environment) help(value *kong.Value) string {
	names := e.names[value]
	if len(names) == 0 {
		return value.Help
	}
	return fmt.Sprintf("%s ($%s)", strings.TrimSuffix(value.Help, "."), strings.Join(names, ", $"))
}
