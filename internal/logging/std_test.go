package logging

import (
	"bytes"
	stdlog "log"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

// Not in parallel: the standard logger is the process's.
func TestRedirectStandard(t *testing.T) {
	flags, out := stdlog.Flags(), stdlog.Writer()
	defer func() { stdlog.SetFlags(flags); stdlog.SetOutput(out) }()
	var buf bytes.Buffer
	RedirectStandard(zerolog.New(&buf))
	stdlog.Printf("Unsolicited response received on idle HTTP channel starting with %q; err=%v", `{"openid":"o-1\"2"}`, nil)
	line := buf.String()
	if strings.Contains(line, "openid") || strings.Contains(line, "o-1") {
		t.Errorf("what a peer sent is in the log: %s", line)
	}
	if !strings.Contains(line, "Unsolicited response") || !strings.Contains(line, `"level":"warn"`) || !strings.Contains(line, `"component":"go"`) {
		t.Errorf("%s", line)
	}
}
