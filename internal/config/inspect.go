package config

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"

	"payscore-collector/internal/textsafe"
)

// collect gives every setting its value, and reports what is wrong with single ones.
// It first removes what environment files leave on values (line ends, quotes), and
// refuses what is certainly a secret in the wrong place.
func collect(p Process, settings []*setting) *Collector {
	c := &Collector{settings: settings}
	r := reporter{c: c}
	c.trimTraces(settings)
	r.refuseMisplaced(settings, knownSecrets(p, settings))
	c.lookAround(p)
	r.fill(settings)
	return c
}

// fill reads the texts into their fields.
func (r reporter) fill(settings []*setting) {
	byName := map[string]*setting{}
	for _, s := range settings {
		byName[strings.ToUpper(s.name)] = s
	}
	for _, s := range settings {
		if s.field.Type() == reflect.TypeFor[Text]() {
			twin := byName[strings.ToUpper(s.name)+"_FILE"]
			if twin == nil {
				panic(fmt.Sprintf("config: %s is a Text, and no setting names its file", s.name))
			}
			s.field.Set(reflect.ValueOf(r.readText(s, twin)))
			continue
		}
		if r.hasRefused(s.name) {
			s.field.SetZero()
			continue
		}
		if s.text == "" && s.Default == "" {
			continue
		}
		read := readers[s.field.Type()]
		if read == nil {
			panic(fmt.Sprintf("config: %s has the type %s, which has no reader", s.name, s.field.Type()))
		}
		value, err := read(s.text, s.Declared)
		if err != nil {
			r.refuse(s.name, "%v", err)
			s.field.SetZero()
			continue
		}
		s.field.Set(reflect.ValueOf(value))
	}
}

// refuseMisplaced removes what is certainly a secret in the wrong place.
func (r reporter) refuseMisplaced(settings []*setting, known []knownSecret) {
	for _, s := range settings {
		if s.Secret || s.Key {
			continue // no sentence about it contains its value
		}
		if what := misplaced(s.text, known); what != "" {
			r.refuse(s.name, "%s, which does not belong here: %s", what, r.belongs(s, what))
			s.text = ""
		}
	}
}

// belongs says what is wanted in a setting that holds something else.
func (r reporter) belongs(s *setting, what string) string {
	switch twin, isPath := strings.CutSuffix(s.name, "_FILE"); {
	case isPath && isDeclared(twin):
		return "it takes the path of a file; " + twin + " takes the text itself"
	case isPath:
		return "it takes the path of a file"
	}
	switch text, isPath := strings.CutSuffix(s.name, "_file"); {
	case r.where != "" && isPath:
		return "it takes the path of a file; " + text + " takes the text itself"
	case r.where != "":
		return "look at the lines of this merchant"
	case what == "holds a private key":
		return "WECHATPAY_PRIVATE_KEY takes the text of the key, WECHATPAY_PRIVATE_KEY_FILE the path of its file"
	case what == "holds a public key":
		return "WECHATPAY_PUBLIC_KEY takes the text of the key, WECHATPAY_PUBLIC_KEY_FILE the path of its file"
	}
	return "look into the environment or the file that sets it"
}

// trimTraces removes what environment files and secret stores leave on values. If other
// programs read the same file, that is a problem, reported once.
func (c *Collector) trimTraces(settings []*setting) {
	var returns, quotes []string
	for _, s := range settings {
		if s.Key {
			continue // the key's reader takes every form
		}
		trimmed := strings.TrimRight(s.text, "\r\n")
		if trimmed != s.text && !strings.HasSuffix(s.text, "\n") {
			returns = append(returns, s.name)
		}
		if plain := unquoted(trimmed); plain != trimmed {
			quotes = append(quotes, s.name)
			trimmed = plain
		}
		s.text = trimmed
	}
	if len(returns) > 0 {
		c.Problem(returns[0], "has a carriage return at its end%s: the file that sets the environment has Windows line ends; convert it, for instance with: sed -i 's/\\r$//' merchant.env", others(returns))
	}
	if len(quotes) > 0 {
		c.Problem(quotes[0], "has quotes around its value%s: docker's --env-file, among others, keeps them; write the value without quotes", others(quotes))
	}
}

// others names all but the first.
func others(names []string) string {
	if len(names) == 1 {
		return ""
	}
	return fmt.Sprintf(", and so have %s", strings.Join(names[1:], ", "))
}

// refuseInArguments refuses a secret of this environment, or the text of a key, in an
// argument or in a flag that is not a setting. Their commands check everything else.
func refuseInArguments(ctx *kong.Context, known []knownSecret) error {
	for _, flag := range ctx.Flags() {
		_, isSetting := flag.Mapper.(*setting)
		if what := misplacedIn(flag.Target, known); what != "" && !isSetting {
			return fmt.Errorf("--%s %s, which does not belong here", flag.Name, what)
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
		if what != "holds several lines" && what != "holds a control character" { // the command checks those
			return what
		}
	}
	return ""
}

// hides reports whether an error's words contain what may not be repeated.
func hides(words string, known []knownSecret) bool {
	return knownIn(words, known) != "" || textsafe.ScrubWords(words) != words
}
