package config

import (
	"reflect"
	"slices"
	"strings"
)

// Declared is a setting as a flag group declares it.
type Declared struct {
	Name    string // the environment variable
	Flag    string // the same in kebab case, without the dashes
	Default string // empty where the tag has none
	holds   []string
}

// Secret reports whether a value of the setting, or a part of one, is a secret.
func (d Declared) Secret() bool { return slices.Contains(d.holds, "secret") }

// key reports whether a value is a key in PEM, which has several lines.
func (d Declared) key() bool { return slices.Contains(d.holds, "key") }

// groups are all flag groups. One that is missing here fails a test.
var groups = []reflect.Type{
	reflect.TypeFor[RedisFlags](),
	reflect.TypeFor[OrderFlags](),
	reflect.TypeFor[MerchantFlags](),
	reflect.TypeFor[WorkerFlags](),
	reflect.TypeFor[DatabaseFlags](),
	reflect.TypeFor[LogFlags](),
}

// AllDeclared lists every setting that some command reads, in the order of the
// flag groups.
func AllDeclared() []Declared {
	var all []Declared
	for _, group := range groups {
		for i := range group.NumField() {
			all = append(all, declaredBy(group.Field(i)))
		}
	}
	return all
}

func declaredBy(field reflect.StructField) Declared {
	d := Declared{Name: field.Tag.Get("env"), Flag: field.Tag.Get("name"), Default: field.Tag.Get("default")}
	if holds := field.Tag.Get("holds"); holds != "" {
		d.holds = strings.Split(holds, ",")
	}
	return d
}
