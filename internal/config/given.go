package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"payscore-collector/internal/textsafe"
)

// given is the text of a setting that may stand in a file instead.
type given struct {
	text string
	path string // of the file; empty where the setting itself holds the text
}

// names is how a sentence about the text begins: the setting names a file that
// is wrong, or is wrong itself.
func (g given) names(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if g.path == "" {
		return errors.New(text)
	}
	return fmt.Errorf("names %q, which %s", g.path, text)
}

// notThere is the error of a file that does not exist.
type notThere struct{ error }

func (notThere) Is(target error) bool { return target == fs.ErrNotExist }

// file is the path for a command that the operator runs.
func (g given) file() string {
	if g.path == "" {
		return "FILE"
	}
	return g.path
}

// either reads a setting that stands in the field itself, or in the file that
// its twin names: NAME and NAME_FILE, name and name_file in a merchants file.
// blame is the field to blame for what is wrong with the text. ok is false where
// a problem was reported; where neither is set the text is empty.
func (r reporter) either(field, value, path string) (g given, blame string, ok bool) {
	twin := twinOf(field)
	switch {
	case value != "" && path != "":
		r.problem(field, "is set, and so is %s: keep one of them", r.name(twin))
		return given{}, field, false
	case path == "":
		return given{text: value}, field, true
	}
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) && !textsafe.Repeatable(path) {
		r.problem(twin, "holds no path of a file, but perhaps the secret itself: %s takes that", r.name(field))
		return given{}, twin, false
	}
	if err != nil {
		r.problem(twin, "%v", err)
		return given{}, twin, false
	}
	return given{text: trimLineEnd(string(data)), path: path}, twin, true
}

// twinOf is the name of the setting that names the file of another.
func twinOf(field string) string {
	if strings.ToUpper(field) == field {
		return field + "_FILE"
	}
	return field + "_file"
}

// trimLineEnd takes off the one line end that editors and echo put at the end.
func trimLineEnd(s string) string {
	return strings.TrimSuffix(strings.TrimSuffix(s, "\n"), "\r")
}

// maxFile bounds the reading of a path that was mistyped into something large or
// endless.
const maxFile = 1 << 20

// readFile reads a file that must not be empty. Its errors continue a sentence
// that begins with the name of the setting, and have nothing of the content.
func readFile(path string) ([]byte, error) {
	g := given{path: path}
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, notThere{g.names("does not exist: check the path, and in a container whether the file is mounted")}
	case errors.Is(err, fs.ErrPermission):
		return nil, g.names("this user may not read: change its owner with chown, or its group and mode")
	case err != nil:
		return nil, g.names("cannot be opened: %v", errors.Unwrap(err))
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, g.names("is a directory: give the path of the file itself")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, g.names("cannot be read: %v", errors.Unwrap(err))
	case len(data) > maxFile:
		return nil, g.names("is far too large for a key: check the path")
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // some editors' byte order mark
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, g.names("is empty: write its content again")
	}
	return data, nil
}
