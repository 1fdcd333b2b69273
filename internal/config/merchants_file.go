package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"payscore-collector/internal/textsafe"
)

// loadMerchantsFile reads the YAML list of merchants. env has the defaults.
func loadMerchantsFile(path string, env merchantFields, c *Collector) []Merchant {
	const setting = "MERCHANTS_FILE"
	data, err := readFile(path)
	if err != nil {
		c.Problem(setting, "%v", err)
		return nil
	}
	items, err := readItems(data)
	if err != nil {
		c.Problem(setting, "%v", Text{path: path}.names("%v", err))
		return nil
	}
	var merchants []Merchant
	lineOf := map[string]int{}
	for _, item := range items {
		r := reporter{c: c, where: fmt.Sprintf("%s, line %d:", path, item.line)}
		if !r.read(item, filepath.Dir(path)) {
			continue
		}
		f := item.fields
		if f.BaseURL == "" { // a merchant with a host of its own does not get another's backup
			f.BaseURL, f.BackupURL = env.BaseURL, cmp.Or(f.BackupURL, env.BackupURL)
		}
		f.AppID, f.ServiceID = cmp.Or(f.AppID, env.AppID), cmp.Or(f.ServiceID, env.ServiceID)
		m := r.merchant(f)
		if first, again := lineOf[m.MchID]; again && m.MchID != "" {
			r.problem("mchid", "is %s, as on line %d: name each merchant once", m.MchID, first)
			continue
		}
		lineOf[m.MchID] = item.line
		merchants = append(merchants, m)
	}
	return merchants
}

// item is one merchant of the file. It keeps its own errors, so that the decoder
// continues with the next one.
type item struct {
	fields merchantFields
	line   int
	wrong  []string // the decoder's errors
}

// UnmarshalYAML decodes with the decoder of the whole list, which knows the fields.
func (i *item) UnmarshalYAML(unmarshal func(any) error) error {
	err := unmarshal(&i.fields)
	if wrong, ok := errors.AsType[*yaml.TypeError](err); ok {
		i.wrong = slices.Clone(wrong.Errors) // the decoder overwrites them
		return nil
	}
	return err
}

// readItems decodes the list. Its errors continue "names FILE, which ...".
func readItems(data []byte) ([]*item, error) {
	nodes, err := readList(data, "merchants", "- mchid: ...")
	if err != nil {
		return nil, err
	}
	var items []*item
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&items); err != nil || len(items) != len(nodes) {
		return nil, notYAML(err)
	}
	for i, node := range nodes {
		if items[i] == nil { // nothing behind the dash
			items[i] = &item{wrong: []string{""}}
		}
		items[i].line = node.Line
	}
	return items, nil
}

// readList returns the items of the list that the document is: of what, and how an item
// begins.
func readList(data []byte, what, begin string) ([]*yaml.Node, error) {
	return readDocument(data, yaml.SequenceNode, fmt.Errorf("is not a list of %s: begin each with %q", what, begin))
}

// readDocument returns the content of the only document: a list or a mapping, with
// something in it. For any other one the error is another. Errors continue "names FILE,
// which ...".
func readDocument(data []byte, kind yaml.Kind, another error) ([]*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	err := decoder.Decode(&doc)
	if err != nil && !errors.Is(err, io.EOF) { // EOF: there are only comments
		return nil, notYAML(err)
	}
	if err != nil || doc.Content[0].Kind != kind || len(doc.Content[0].Content) == 0 {
		return nil, another
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, errors.New("holds more than one YAML document: keep the first, without a second ---")
	}
	return doc.Content[0].Content, nil
}

// notYAML leaves out the parser's own words: they can quote the file.
func notYAML(err error) error {
	where := ""
	if err != nil {
		if line := regexp.MustCompile(`line \d+`).FindString(err.Error()); line != "" {
			where = " (" + line + ")"
		}
	}
	return fmt.Errorf("is not valid YAML%s: quote values that have special characters in them", where)
}

// What the decoder says of a key that it does not know, and of one that is there twice.
// It reads nothing else of an item with the latter.
var (
	unknownKey = regexp.MustCompile(`(?s)^line (\d+): field (.*) not found in type `)
	twiceKey   = regexp.MustCompile(`(?s)^line (\d+): mapping key "(.*)" already defined at line \d+$`)
)

// read reports what is wrong with the item's keys and with single values, and reads the
// texts that stand in files; relative paths start at dir. It returns false if there is
// nothing left to check.
func (r reporter) read(i *item, dir string) bool {
	for _, text := range i.wrong {
		switch unknown, twice := unknownKey.FindStringSubmatch(text), twiceKey.FindStringSubmatch(text); {
		case unknown != nil:
			r.problem(repeatableKey(unknown[2]), "(on line %s) is unknown: the keys are %s", unknown[1], strings.Join(merchantKeys, ", "))
		case twice != nil:
			r.problem(repeatableKey(twice[2]), "(on line %s) is there twice: keep one", twice[1])
			return false
		case strings.HasSuffix(text, "into string"):
			line, _, _ := strings.Cut(text, ":")
			r.problem("a value", "(on %s) is a list or a mapping: write a single value", line)
		default:
			r.problem("the item", "is not a merchant: write its settings as KEY: VALUE lines")
			return false
		}
	}
	settings := settingsIn(reflect.ValueOf(&i.fields).Elem())
	var known []knownSecret
	for _, s := range settings {
		s.name = s.tag.Get("yaml")
		switch value := s.field.Interface().(type) {
		case string:
			s.text = value
		case Text:
			s.text = value.Reveal()
		}
		if s.Secret {
			known = addSecret(known, s.name, s.text)
		}
	}
	r.refuseMisplaced(settings, known)
	for _, s := range settings {
		if strings.HasSuffix(s.name, "_file") && s.text != "" && !filepath.IsAbs(s.text) {
			s.text = filepath.Join(dir, s.text)
		}
	}
	r.fill(settings)
	return true
}

func repeatableKey(key string) string {
	if !textsafe.Repeatable(key) {
		return "a field"
	}
	return key
}
