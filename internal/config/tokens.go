package config

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Role is what the holder of a token may do through the HTTP API. Each role may also do
// what those before it may.
type Role string

// The roles.
const (
	Viewer   Role = "viewer"   // reads
	Billing  Role = "billing"  // enqueues, withdraws and reopens orders
	Operator Role = "operator" // collects now, pauses, resumes, acts in bulk, retries webhooks, destroys readers
)

// Roles lists the roles, the least one first.
var Roles = []Role{Viewer, Billing, Operator}

// Can reports whether a role may do what needs another one.
func (r Role) Can(needed Role) bool {
	return slices.Contains(Roles, r) && slices.Index(Roles, r) >= slices.Index(Roles, needed)
}

// APIToken is one item of API_TOKENS_FILE.
type APIToken struct {
	Name   string
	Role   Role
	SHA256 [sha256.Size]byte // of the token
	MchIDs []string          // the merchants that it is for; empty: all
}

// leastToken is the length below which ADMIN_TOKEN is warned about.
const leastToken = 16

// tokenName is the form of a token's name, which logs and the trail show.
var tokenName = regexp.MustCompile(`^[0-9A-Za-z._@-]{1,64}$`)

// LocalName is the name of the operator without a token, on a loopback address.
const LocalName = "local"

// NewAPIToken returns a fresh token, and the item of API_TOKENS_FILE for it.
func NewAPIToken(name string, role Role, mchids []string) (token, item string, err error) {
	if err := checkToken(name, role, mchids); err != nil {
		return "", "", err
	}
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails
	token = "psc_" + base64.RawURLEncoding.EncodeToString(random[:])
	sum := sha256.Sum256([]byte(token))
	item = fmt.Sprintf(`- {name: "%s", role: %s, token_sha256: "%s"`, name, role, hex.EncodeToString(sum[:]))
	if len(mchids) > 0 {
		item += `, mchids: ["` + strings.Join(mchids, `", "`) + `"]`
	}
	return token, item + "}", nil
}

func checkToken(name string, role Role, mchids []string) error {
	switch {
	case !tokenName.MatchString(name):
		return fmt.Errorf("name is %q: write 1 to 64 of 0-9 A-Z a-z . _ @ -", name)
	case name == LocalName:
		return fmt.Errorf("name is %q, which stands for callers without a token: write another one", name)
	case !slices.Contains(Roles, role):
		return fmt.Errorf("role is %q: write viewer, billing or operator", role)
	}
	for _, mchid := range mchids {
		if err := forms["mchid"](mchid, Declared{}); err != nil {
			return fmt.Errorf("mchids has a value that %w", err)
		}
	}
	return nil
}

// ReadAPITokens reads API_TOKENS_FILE, and returns its text too. The error names every
// fault of the file, and continues where the setting's name ends. Values stand in it only
// in quotes; see textsafe.ScrubQuoted.
func ReadAPITokens(path string) (tokens []APIToken, text []byte, err error) {
	data, err := readFile(path)
	if err != nil {
		return nil, nil, err
	}
	items, err := readList(data, "tokens", "- name: ...")
	if err != nil {
		return nil, data, Text{path: path}.names("%v", err)
	}
	var wrong []string
	lineOf := map[string]int{}
	for _, node := range items {
		token, err := readAPIToken(node)
		if first, again := lineOf[token.Name]; err == nil && again {
			err = fmt.Errorf("name is %q, as on line %d: name each token once", token.Name, first)
		}
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("has on line %d a token whose %v", node.Line, err))
			continue
		}
		lineOf[token.Name] = node.Line
		tokens = append(tokens, token)
	}
	if len(wrong) > 0 {
		return nil, data, Text{path: path}.names("%s", strings.Join(wrong, "; "))
	}
	return tokens, data, nil
}

// readAPIToken reads an item.
func readAPIToken(node *yaml.Node) (t APIToken, err error) {
	if node.Kind != yaml.MappingNode {
		return t, errors.New("item is not a mapping: write name, role and token_sha256 as KEY: VALUE")
	}
	digest := ""
	texts := map[string]*string{"name": &t.Name, "role": (*string)(&t.Role), "token_sha256": &digest}
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i].Value, node.Content[i+1]
		if seen[key] {
			return t, fmt.Errorf("%s is there twice: keep one", repeatableKey(key))
		}
		seen[key] = true
		switch text := texts[key]; {
		case text != nil && value.Kind != yaml.ScalarNode:
			return t, fmt.Errorf("%s is a list or a mapping: write a single value", key)
		case text != nil:
			*text = value.Value
		case key == "mchids":
			if value.Kind != yaml.SequenceNode || len(value.Content) == 0 {
				return t, errors.New("mchids is not a list of merchant numbers: write [\"1900000001\"], or leave it out for all merchants")
			}
			for _, id := range value.Content {
				t.MchIDs = append(t.MchIDs, id.Value)
			}
		default:
			return t, fmt.Errorf("key %s is unknown: the keys are name, role, token_sha256 and mchids", repeatableKey(key))
		}
	}
	for _, key := range []string{"name", "role", "token_sha256"} {
		if !seen[key] {
			return t, fmt.Errorf("%s is missing: the keys are name, role, token_sha256 and mchids", key)
		}
	}
	if err := checkToken(t.Name, t.Role, t.MchIDs); err != nil {
		return t, err
	}
	sum, err := hex.DecodeString(digest)
	if err != nil || len(sum) != sha256.Size {
		return t, errors.New("token_sha256 is not 64 hexadecimal digits: write the SHA-256 of the token, as \"worker token NAME --role ROLE\" prints it")
	}
	copy(t.SHA256[:], sum)
	return t, nil
}
