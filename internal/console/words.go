package console

import (
	_ "embed"
	"fmt"
	"html"
	"html/template"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"payscore-collector/internal/api"
	"payscore-collector/internal/explain"
	"payscore-collector/tasks"
)

// table has the words of the pages that package explain does not have, by key: in English,
// and in Chinese.
var table = readWords()

//go:embed words.yaml
var wordsFile []byte

func readWords() (words map[string][2]string) {
	if err := yaml.Unmarshal(wordsFile, &words); err != nil {
		panic(fmt.Sprintf("console: words.yaml: %v", err))
	}
	return words
}

// word returns the text of a key, with its arguments filled in.
func word(lang explain.Language, key string, args ...any) string {
	words, ok := table[key]
	if !ok {
		panic("console: no words for " + key)
	}
	format := words[0]
	if lang == explain.Chinese {
		format = words[1]
	}
	if len(args) == 0 {
		return format
	}
	return fmt.Sprintf(format, args...)
}

// functions are what templates call.
func (c *Console) functions(lang explain.Language) template.FuncMap {
	return template.FuncMap{
		"t":        func(key string, args ...any) string { return word(lang, key, args...) },
		"asset":    func(name string) string { return c.assets[name].path },
		"yuan":     explain.Yuan,
		"yuanOf":   func(fen *int64) string { return explain.OrDash(explain.YuanOf(fen)) },
		"dash":     explain.OrDash,
		"clean":    explain.Printable,
		"fit":      func(n int, s string) string { return explain.Fit(explain.Printable(s), n) },
		"number":   number,
		"percent":  percent,
		"states":   func() []tasks.State { return tasks.States },
		"has":      func(list []string, s string) bool { return slices.Contains(list, s) },
		"orderURL": orderURL,
		"booksURL": booksURL,
		"hookURL":  hookURL,
		"sorted": func(b ordersBody, by, word string) sorter {
			return sorter{by, word, b.SortURL(by), b.Filter.Sort == by}
		},
		"esc": url.PathEscape,
		"nav": func() []string { return navigation },
	}
}

// navigation has the pages of the menu, in its order.
var navigation = []string{"overview", "recovery", "orders", "merchants", "webhooks", "books", "trail"}

func orderURL(mchid, no string) string { return "/orders/" + mchid + "/" + url.PathEscape(no) }

// number groups digits by thousands.
func number(n any) string {
	if p, ok := n.(*int64); ok {
		n = *p
	}
	s := fmt.Sprint(n)
	sign := strings.HasPrefix(s, "-")
	s = strings.TrimPrefix(s, "-")
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if sign {
		s = "-" + s
	}
	return s
}

// Age is how long ago a time is, in words, with the time itself for machines and on hover.
func (v *view) Age(at time.Time) template.HTML { return v.timed(at, v.Tell.Age) }

// When is a time and how long ago it is.
func (v *view) When(at time.Time) template.HTML { return v.timed(at, v.Tell.WithAge) }

// Due is Age of a time at which something has to be done.
func (v *view) Due(at time.Time) template.HTML {
	return v.timed(at, func(at time.Time) string {
		if at.After(v.Tell.Now) {
			return v.Tell.Age(at)
		}
		return v.word("due.now")
	})
}

func (v *view) timed(at time.Time, words func(time.Time) string) template.HTML {
	if at.IsZero() {
		return "-"
	}
	return template.HTML(`<time datetime="` + at.UTC().Format(time.RFC3339) + `" title="` + v.Tell.At(at) + `">` + html.EscapeString(words(at)) + `</time>`)
}

// At is a time without its age.
func (v *view) At(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return v.Tell.At(at)
}

// Back is the address of the page, for the switch of the language. What a form has sent
// cannot be asked for again.
func (v *view) Back() string {
	if v.r.Method != "GET" || strings.HasPrefix(v.r.URL.Path, "/signin") {
		return "/"
	}
	return v.r.URL.RequestURI()
}

// Address is the address that a live page fetches again.
func (v *view) Address() string { return v.r.URL.RequestURI() }

// LiveURL is where the page learns of changes; empty for one that does not.
func (v *view) LiveURL() string {
	switch v.Live {
	case "":
		return ""
	case everyMerchant:
		return "/live"
	}
	return "/live?mchid=" + url.QueryEscape(v.Live)
}

const everyMerchant = "*"

// percent is a share in words; a dash where the whole is 0.
func percent(part, whole int64) string {
	if whole == 0 {
		return "-"
	}
	return strconv.FormatFloat(100*float64(part)/float64(whole), 'f', 1, 64) + " %"
}

// Seconds is a number of seconds in words.
func (v *view) Seconds(n int64) string { return v.Tell.Duration(time.Duration(n) * time.Second) }

// Rate is calls a second, now and at most.
func (v *view) Rate(r api.RateView) string {
	if r.Limit == 0 {
		return "-"
	}
	short := func(f float64) string { return strconv.FormatFloat(f, 'g', 3, 64) }
	if r.Now == r.Limit {
		return v.word("rate", short(r.Limit))
	}
	return v.word("rate.less", short(r.Now), short(r.Limit))
}
