package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"payscore-collector/internal/textsafe"
)

// Text is the value of a setting that may stand in a file instead: NAME and
// NAME_FILE in the environment, name and name_file in a merchants file. It is not
// shown, as a Secret is not.
type Text struct {
	Secret
	path  string // of the file; empty where the setting itself holds the text
	blame string // the setting to blame for what is wrong with the text
	bad   bool   // a problem was reported, so there is no text
}

// UnmarshalYAML takes a scalar of a merchants file.
func (t *Text) UnmarshalYAML(unmarshal func(any) error) error {
	var text string
	if err := unmarshal(&text); err != nil {
		return err
	}
	t.Secret = NewSecret(text)
	return nil
}

// names begins a sentence about the text: the setting names a file that is wrong, or
// is wrong itself.
func (t Text) names(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if t.path == "" {
		return errors.New(text)
	}
	return fmt.Errorf("names %q, which %s", t.path, text)
}

// file is the path for a command that the operator runs.
func (t Text) file() string { return cmp.Or(t.path, "FILE") }

// readText reads the text of a setting, from the file that its twin names where that
// is set, and reports what is wrong.
func (r reporter) readText(s, twin *setting) Text {
	switch {
	case s.text != "" && twin.text != "":
		r.problem(s.name, "is set, and so is %s: keep one of them", twin.name)
		return Text{blame: s.name, bad: true}
	case twin.text == "":
		return Text{Secret: NewSecret(s.text), blame: s.name, bad: r.hasRefused(s.name) || r.hasRefused(twin.name)}
	}
	r.c.files = append(r.c.files, twin.text)
	data, err := readFile(twin.text)
	if err == nil { // without the one line end that editors and echo write
		text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
		return Text{Secret: NewSecret(text), path: twin.text, blame: twin.name}
	}
	if errors.Is(err, fs.ErrNotExist) && !textsafe.Repeatable(twin.text) {
		r.problem(twin.name, "does not hold the path of a file, but perhaps the secret itself: %s takes that", s.name)
	} else {
		r.problem(twin.name, "%v", err)
	}
	return Text{blame: twin.name, bad: true}
}

// maxFile bounds the reading of a path that was mistyped into something large or
// endless.
const maxFile = 1 << 20

// missingFile is the error of a file that does not exist.
type missingFile struct{ error }

func (missingFile) Is(target error) bool { return target == fs.ErrNotExist }

// readFile reads a file that must not be empty. Its errors continue a sentence that
// begins with the setting's name, and contain nothing of the file.
func readFile(path string) ([]byte, error) {
	t := Text{path: path}
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, missingFile{t.names("does not exist: check the path, and in a container whether the file is mounted")}
	case errors.Is(err, fs.ErrPermission):
		return nil, t.names("this user may not read: change its owner with chown, or its group and mode")
	case err != nil:
		return nil, t.names("cannot be opened: %v", errors.Unwrap(err))
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, t.names("is a directory: give the path of the file itself")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, t.names("cannot be read: %v", errors.Unwrap(err))
	case len(data) > maxFile:
		return nil, t.names("is far too large for a key: check the path")
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // some editors' byte order mark
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, t.names("is empty: write its content again")
	}
	return data, nil
}
