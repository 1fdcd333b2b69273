package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestNew(t *testing.T) {
	t.Run("json is one object a line, with UTC milliseconds", func(t *testing.T) {
		var out bytes.Buffer
		log, err := New("info", FormatJSON, &out)
		if err != nil {
			t.Fatal(err)
		}
		log.Info().Str(FieldMchID, "1900000001").Err(errors.New("why")).Msg("what")

		var line map[string]string
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Fatalf("%v in %q", err, out.String())
		}
		if line["level"] != "info" || line["message"] != "what" || line["mchid"] != "1900000001" || line[FieldError] != "why" {
			t.Errorf("line is %v", line)
		}
		if !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`).MatchString(line["time"]) {
			t.Errorf("time is %q", line["time"])
		}
	})

	t.Run("lines below the level are left out", func(t *testing.T) {
		var out bytes.Buffer
		log, err := New("warn", FormatJSON, &out)
		if err != nil {
			t.Fatal(err)
		}
		log.Info().Msg("unheard")
		log.Warn().Msg("heard")
		if got := out.String(); strings.Contains(got, "unheard") || !strings.Contains(got, "heard") {
			t.Errorf("output is %q", got)
		}
	})

	t.Run("console has no colours where there is no terminal", func(t *testing.T) {
		var out bytes.Buffer
		log, err := New("info", FormatConsole, &out)
		if err != nil {
			t.Fatal(err)
		}
		log.Info().Str("a", "b").Msg("what")
		if got := out.String(); !regexp.MustCompile(`^\d\d:\d\d:\d\d\.\d{3} INF what a=b\n$`).MatchString(got) {
			t.Errorf("output is %q", got)
		}
	})

	for _, tc := range []struct{ level, format, want string }{
		{"loud", FormatJSON, `log level "loud" is unknown: use one of trace, debug, info, warn, error`},
		{"", FormatJSON, `log level "" is unknown`},
		{"disabled", FormatJSON, `log level "disabled" is unknown`},
		{"info", "xml", `log format "xml" is unknown: use json or console`},
	} {
		t.Run("refuses "+tc.level+" "+tc.format, func(t *testing.T) {
			_, err := New(tc.level, tc.format, &bytes.Buffer{})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is %v, want %q in it", err, tc.want)
			}
		})
	}
}

// forged is what an answer from outside may have in it: colours, a title for the
// window, a cleared screen, a line of a log, letters in the wrong order.
const forged = "WeChat Pay says: \x1b[31m\x1b]0;title\x07\x1b[2J\r\n{\"level\":\"info\"}\n12:00:00.000 INF paid\u009b1m\u202e\u2028"

func TestNoLineIsForged(t *testing.T) {
	for _, format := range []string{FormatJSON, FormatConsole} {
		t.Run(format, func(t *testing.T) {
			var out bytes.Buffer
			log, err := New("info", format, &out)
			if err != nil {
				t.Fatal(err)
			}
			log.Info().Str(FieldCode, forged).Err(errors.New(forged)).Msg(forged)
			wantOneLine(t, format, out.String())
			if !strings.Contains(out.String(), "WeChat Pay says:") {
				t.Errorf("the words are lost: %q", out.String())
			}
		})
	}

	t.Run("a terminal's colours stay", func(t *testing.T) {
		fields := map[string]any{"message": forged}
		if err := cleanMessage(fields); err != nil || strings.Contains(fields["message"].(string), "\x1b") {
			t.Errorf("error %v, message %q", err, fields["message"])
		}
	})
}

// wantOneLine checks that out is one line that cannot control anything.
func wantOneLine(t *testing.T, format, out string) {
	t.Helper()
	line, ended := strings.CutSuffix(out, "\n")
	if !ended || !utf8.ValidString(line) || strings.IndexFunc(line, func(r rune) bool { return !unicode.IsGraphic(r) }) >= 0 {
		t.Errorf("not one clean line: %q", out)
	}
	if format == FormatJSON && !json.Valid([]byte(line)) {
		t.Errorf("not JSON: %q", out)
	}
}

func FuzzNoLineIsForged(f *testing.F) {
	f.Add(forged, forged)
	f.Add("\xff\xc3(", "\x7f")
	f.Add("订单", "\u2066")
	f.Fuzz(func(t *testing.T, message, field string) {
		for _, format := range []string{FormatJSON, FormatConsole} {
			var out bytes.Buffer
			log, err := New("info", format, &out)
			if err != nil {
				t.Fatal(err)
			}
			log.Warn().Str(FieldReason, field).Err(errors.New(field)).Msg(message)
			wantOneLine(t, format, out.String())
		}
	})
}
