package textsafe_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"payscore-collector/internal/textsafe"
)

func TestClean(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"plain", "the order does not exist", "the order does not exist"},
		{"Chinese, with its wide space", "订单 不存在　。", "订单 不存在　。"},
		{"lines", "one\r\ntwo\nthree\ttab", "one  two three tab"},
		{"an escape sequence", "\x1b[31mred\x1b]0;title\x07", "?[31mred?]0;title?"},
		{"an escape of the second set", "\u009b31m", "?31m"},
		{"delete and null", "a\x7fb\x00c", "a?b?c"},
		{"bidirectional overrides", "a\u202eb\u2066c\u200fd", "a?b?c?d"},
		{"separators of lines and paragraphs", "a\u2028b\u2029c\u0085d", "a b c d"},
		{"zero width and byte order mark", "a\u200bb\ufeffc", "a?b?c"},
		{"not UTF-8", "a\xff\xc3b", "a??b"},
		{"the replacement rune itself", "a\ufffdb", "a\ufffdb"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := textsafe.Clean(tc.in); got != tc.want {
				t.Errorf("%q became %q, want %q", tc.in, got, tc.want)
			}
		})
	}
}

func TestClip(t *testing.T) {
	for _, tc := range []struct {
		in   string
		most int
		want string
	}{
		{"abc", 3, "abc"}, {"abcd", 3, "abc…"}, {"订单不存在", 2, "订单…"}, {"a\nbc", 2, "a …"}, {"", 0, ""}, {"a", 0, "…"},
	} {
		if got := textsafe.Clip(tc.in, tc.most); got != tc.want {
			t.Errorf("%q became %q, want %q", tc.in, got, tc.want)
		}
	}
}

func FuzzClean(f *testing.F) {
	for _, seed := range []string{"", "plain", "\x1b[2J", "\u202e", "\xff", "订单\r\n", "\u0085"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := textsafe.Clean(s)
		if !utf8.ValidString(got) || strings.ContainsAny(got, "\r\n\u2028\u2029\u0085\x1b") {
			t.Errorf("%q became %q", s, got)
		}
		for _, r := range got {
			if !unicode.IsGraphic(r) {
				t.Errorf("%q became %q, which has %U", s, got, r)
			}
		}
		if again := textsafe.Clean(got); again != got {
			t.Errorf("%q became %q, and that %q", s, got, again)
		}
		if short := textsafe.Clip(s, 5); utf8.RuneCountInString(short) > 6 || !strings.HasPrefix(got, strings.TrimSuffix(short, "…")) {
			t.Errorf("%q was cut to %q", s, short)
		}
	})
}
