package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"payscore-collector/internal/textsafe"
)

// loadMerchantsFile reads the YAML list of merchants. It walks the document by
// hand, because the decoder would stop at the first unknown key, and because
// its errors quote values, keys of a merchant among them.
func loadMerchantsFile(path string, defaults map[string]string, c *Collector) []Merchant {
	const setting = "MERCHANTS_FILE"
	data, err := readFile(path)
	if err != nil {
		c.Problem(setting, "%v", err)
		return nil
	}
	list, err := yamlList(data)
	if err != nil {
		c.Problem(setting, "%v", given{path: path}.names("%v", err))
		return nil
	}

	var merchants []Merchant
	lineOf := map[string]int{}
	for _, node := range list {
		r := reporter{c: c, where: fmt.Sprintf("%s, line %d:", path, node.Line)}
		fields, ok := yamlFields(node, r)
		if !ok {
			continue
		}
		r.inspect(fields)
		for _, file := range []string{fieldPrivateKeyFile, fieldPublicKeyFile, fieldAPIV3KeyFile} {
			if p := fields[file]; p != "" && p != refusedValue && !filepath.IsAbs(p) {
				fields[file] = filepath.Join(filepath.Dir(path), p)
			}
		}
		m := resolveMerchant(withDefaults(fields, defaults), r)
		if first, again := lineOf[m.MchID]; again && m.MchID != "" {
			r.problem(fieldMchID, "is %s, as on line %d: name each merchant once", m.MchID, first)
			continue
		}
		lineOf[m.MchID] = node.Line
		merchants = append(merchants, m)
	}
	return merchants
}

// withDefaults fills in what the merchant does not say itself. A merchant with a
// base URL of its own does not get the backup of another host.
func withDefaults(fields, defaults map[string]string) map[string]string {
	out := maps.Clone(defaults)
	if fields[fieldBaseURL] != "" {
		delete(out, fieldBackupURL)
	}
	for field, value := range fields {
		if value != "" {
			out[field] = value
		}
	}
	return out
}

var yamlLine = regexp.MustCompile(`line \d+`)

// yamlList returns the items of the list that the document is. Its errors continue
// "names FILE, which ...".
func yamlList(data []byte) ([]*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	notAList := fmt.Errorf("is not a list of merchants: begin each with %q", "- mchid: ...")
	switch err := decoder.Decode(&doc); {
	case errors.Is(err, io.EOF): // nothing but comments
		return nil, notAList
	case err != nil:
		// The parser's own words are left away: they can quote the file.
		if line := yamlLine.FindString(err.Error()); line != "" {
			return nil, fmt.Errorf("is not valid YAML (%s): quote values that have special characters in them", line)
		}
		return nil, errors.New("is not valid YAML: quote values that have special characters in them")
	}
	var second yaml.Node
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, errors.New("holds more than one YAML document: keep the first, without a second ---")
	}
	list := doc.Content[0]
	if list.Kind != yaml.SequenceNode || len(list.Content) == 0 {
		return nil, notAList
	}
	return list.Content, nil
}

// yamlFields reads one item. It reports every wrong key and value of it, and
// returns false where there is nothing left to judge.
func yamlFields(node *yaml.Node, r reporter) (map[string]string, bool) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind != yaml.MappingNode {
		r.problem("the item", "is not a merchant: write its settings as KEY: VALUE lines")
		return nil, false
	}
	fields := map[string]string{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		_, known := settingOf[key.Value]
		_, twice := fields[key.Value]
		switch {
		case !known:
			name := key.Value
			if !textsafe.Repeatable(name) {
				name = "a field"
			}
			r.problem(name, "(on line %d) is unknown: the keys are %s", key.Line, strings.Join(merchantFields, ", "))
		case twice:
			r.problem(key.Value, "(on line %d) is there twice: keep one", key.Line)
		case value.Kind != yaml.ScalarNode:
			r.problem(key.Value, "(on line %d) is a list or a mapping: write a single value", key.Line)
		case value.Tag == "!!null":
			fields[key.Value] = ""
		default:
			fields[key.Value] = value.Value
		}
	}
	return fields, true
}
