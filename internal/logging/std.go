package logging

import (
	stdlog "log"
	"regexp"
	"strings"

	"github.com/rs/zerolog"
)

// RedirectStandard sends what the standard library logs by itself through log,
// for the whole process. Quoted text is left out, because net/http quotes the first
// bytes that a peer sends unasked.
func RedirectStandard(log zerolog.Logger) {
	stdlog.SetFlags(0)
	stdlog.SetOutput(standardWriter{log.With().Str(FieldComponent, "go").Logger()})
}

type standardWriter struct{ log zerolog.Logger }

var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

func (w standardWriter) Write(p []byte) (int, error) {
	w.log.Warn().Str(FieldEvent, "standard_library").Msg(quoted.ReplaceAllString(strings.TrimSpace(string(p)), `"…"`))
	return len(p), nil
}
