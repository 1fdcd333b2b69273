package config

import (
	"fmt"
	"reflect"
	"strings"
)

// refusedValue takes the place of a value that is certainly misplaced, so that
// nothing behind can repeat it. No setting takes it.
const refusedValue = "[refused]"

// NewCollector looks at the value of every setting in grammar, a pointer to a
// struct that Parse has filled, before the flag groups judge them. It mends what
// environment files leave on values (line ends, quotes) and says so once, and it
// takes away, with a problem, what is certainly a secret in the wrong place.
func NewCollector(p Process, grammar any) *Collector {
	c := &Collector{refused: map[string]bool{}}
	settings := settingsIn(reflect.ValueOf(grammar).Elem())
	c.mendTraces(settings)

	values := map[string]string{}
	for _, s := range settings {
		values[s.Name] = s.get()
	}
	known := knownSecrets(p, values)
	for _, s := range settings {
		if s.Secret() || s.key() {
			continue // no sentence about it has anything of it
		}
		if what := misplaced(s.get(), known); what != "" {
			c.Problem(s.Name, "%s, which does not belong here: %s", what, belongs(s.Name, what))
			c.refused[s.Name] = true
			s.set(refusedValue)
		}
	}
	c.lookAround(p)
	return c
}

// inspect does for the fields of a merchants file what NewCollector does for
// settings.
func (r *reporter) inspect(fields map[string]string) {
	r.refused = map[string]bool{}
	var known []knownSecret
	for _, field := range merchantFields {
		if d := declaredAs(settingOf[field]); d.Secret() {
			for _, part := range secretParts(fields[field]) {
				if len(part) >= leastKnown {
					known = append(known, knownSecret{field, part})
				}
			}
		}
	}
	for _, field := range merchantFields {
		if d := declaredAs(settingOf[field]); d.Secret() || d.key() {
			continue
		}
		if what := misplaced(fields[field], known); what != "" {
			r.problem(field, "%s, which does not belong here: %s", what, belongs(field, what))
			r.refused[field] = true
			fields[field] = refusedValue
		}
	}
}

// declaredAs is the declaration of a setting.
func declaredAs(name string) Declared {
	for _, d := range AllDeclared() {
		if d.Name == name {
			return d
		}
	}
	return Declared{}
}

// belongs says what is wanted in a setting, or in a field of a merchants file, that
// holds something else.
func belongs(setting, what string) string {
	name, isPath := strings.CutSuffix(strings.TrimSuffix(setting, "_file"), "_FILE")
	isPath = isPath || strings.HasSuffix(setting, "_file")
	text := ""
	if declaredAs(name).Name != "" || settingOf[name] != "" {
		text = "; " + name + " takes the text itself"
	}
	switch {
	case isPath:
		return "it takes the path of a file" + text
	case settingOf[setting] != "":
		return "look at the lines of this merchant"
	case what == "holds a private key":
		return "WECHATPAY_PRIVATE_KEY takes the text of the key, WECHATPAY_PRIVATE_KEY_FILE the path of its file"
	case what == "holds a public key":
		return "WECHATPAY_PUBLIC_KEY takes the text of the key, WECHATPAY_PUBLIC_KEY_FILE the path of its file"
	}
	return "look into the environment or the file that sets it"
}

// mendTraces takes off what environment files and secret stores leave on values.
// Where a file is to blame that others read too, it is a problem, said once.
func (c *Collector) mendTraces(settings []setting) {
	var returns, quotes []string
	for _, s := range settings {
		if s.key() {
			continue // the key's reader knows them all
		}
		value := s.get()
		mended := strings.TrimRight(value, "\r\n")
		if mended != value && !strings.HasSuffix(value, "\n") {
			returns = append(returns, s.Name)
		}
		if plain := unquoted(mended); plain != mended {
			quotes = append(quotes, s.Name)
			mended = plain
		}
		if mended != value {
			s.set(mended)
		}
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

// setting is a field of a flag group that an environment variable sets.
type setting struct {
	Declared
	field reflect.Value // a string, or a pointer to one
}

func (s setting) get() string {
	if s.field.Kind() == reflect.Pointer {
		if s.field.IsNil() {
			return ""
		}
		return s.field.Elem().String()
	}
	return s.field.String()
}

func (s setting) set(value string) {
	if s.field.Kind() == reflect.Pointer {
		s.field.Set(reflect.ValueOf(&value))
		return
	}
	s.field.SetString(value)
}

// settingsIn are the settings of a struct and of the structs in it.
func settingsIn(v reflect.Value) []setting {
	var all []setting
	for i := range v.NumField() {
		field := v.Type().Field(i)
		switch {
		case field.Tag.Get("env") != "":
			all = append(all, setting{declaredBy(field), v.Field(i)})
		case field.IsExported() && field.Type.Kind() == reflect.Struct:
			all = append(all, settingsIn(v.Field(i))...)
		}
	}
	return all
}
