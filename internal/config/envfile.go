package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
)

// EnvFile is the environment variable that names a file of NAME=value lines,
// such as the simulator writes. The image's Compose file sets it.
const EnvFile = "MERCHANT_ENV"

// envFileLimit is far above what settings need. It stops the reading of a wrong path,
// such as a device.
const envFileLimit = 1 << 20

// withEnvFile returns the process with the file's variables behind its own: a variable
// that the environment sets, and not to nothing, keeps its value. With SetEnv, other code
// that reads the environment finds the file's variables too, such as HTTPS_PROXY. The
// error is a Problems; it never quotes the file, nor the variable that names it, because
// either may hold a secret.
func (p Process) withEnvFile() (Process, error) {
	path := p.env(EnvFile)
	if path == "" {
		return p, nil
	}
	text, err := readEnvFile(path)
	if err != nil {
		return p, Problems{{Setting: EnvFile, Text: err.Error()}}
	}
	values, err := parseEnvFile(text)
	if err != nil {
		return p, Problems{{Setting: EnvFile, Text: err.Error()}}
	}
	lookup := p.LookupEnv
	p.LookupEnv = func(name string) (string, bool) {
		value, set := lookup(name)
		if fromFile, ok := values[name]; ok && value == "" {
			return fromFile, true
		}
		return value, set
	}
	if p.SetEnv == nil {
		return p, nil
	}
	for name, value := range values {
		if outside, _ := lookup(name); outside != "" {
			continue
		}
		if err := p.SetEnv(name, value); err != nil {
			return p, Problems{{Setting: EnvFile, Text: "names a file with a variable that the operating system refuses"}}
		}
	}
	return p, nil
}

func readEnvFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", envFileError(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, envFileLimit+1))
	if err != nil {
		return "", envFileError(err)
	}
	if len(text) > envFileLimit {
		return "", fmt.Errorf("names a file of more than %d bytes: a list of settings is shorter", envFileLimit)
	}
	return string(text), nil
}

// envFileError says what to do. A missing file is the usual first mistake with Docker
// Compose.
func envFileError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("names a file that does not exist: write the merchant's settings into it as NAME=value lines; " +
			"with Docker Compose the file is merchant.env in the directory that MERCHANT_DIR names (./.merchant, say), " +
			"and without a merchant of your own, --profile simulator makes one")
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("names a file that user %d may not read: give it to that user, for instance with sudo chown -R %[1]d DIRECTORY", os.Getuid())
	}
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err // without the path
	}
	return fmt.Errorf("names a file that cannot be read: %w", err)
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// parseEnvFile reads NAME=value lines. A value reaches to the end of its line; spaces
// around it are dropped, and so is one pair of quotes around all of it. No other
// character has a meaning: not $, not &, not \, not # behind a value. Empty lines, lines
// that begin with #, and a leading "export" are skipped. The last line of a name counts.
// A byte order mark and Windows line ends are accepted.
func parseEnvFile(text string) (map[string]string, error) {
	values := map[string]string{}
	n := 0
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if rest, exported := strings.CutPrefix(name, "export "); exported {
			name = strings.TrimSpace(rest)
		}
		if !ok || !envName.MatchString(name) {
			return nil, fmt.Errorf("names a file whose line %d is not NAME=value (no space before the =)", n)
		}
		if strings.ContainsRune(value, 0) {
			return nil, fmt.Errorf("names a file whose line %d has a NUL byte: save it as UTF-8", n)
		}
		values[name] = unquoted(strings.TrimSpace(value))
	}
	return values, nil
}
