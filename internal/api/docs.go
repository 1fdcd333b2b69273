package api

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

//go:embed docs.html
var docsSource string

// addDocs serves the document as a page for people. It is written once, and loads nothing:
// many networks of operators reach no other host.
func (a *API) addDocs() {
	page := a.docsPage()
	for _, path := range []string{"GET /docs", "GET /docs/{$}"} {
		a.mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			h := w.Header()
			h.Set("Content-Type", "text/html; charset=utf-8")
			h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
			_, _ = w.Write(page)
		})
	}
}

type docsOperation struct {
	Method, Path string
	*huma.Operation
}

func (a *API) docsPage() []byte {
	doc := a.huma.OpenAPI()
	byTag := map[string][]docsOperation{}
	for path, item := range doc.Paths {
		for method, o := range map[string]*huma.Operation{http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodDelete: item.Delete} {
			if o != nil {
				byTag[o.Tags[0]] = append(byTag[o.Tags[0]], docsOperation{method, path, o})
			}
		}
	}
	for _, list := range byTag {
		slices.SortFunc(list, func(a, b docsOperation) int { return strings.Compare(a.Path+a.Method, b.Path+b.Method) })
	}
	t := template.Must(template.New("docs").Funcs(template.FuncMap{
		"paragraphs": func(s string) []string { return strings.Split(s, "\n\n") },
		"code":       codeSpans,
		"pretty":     pretty,
		"typeOf":     typeOf,
		"required":   func(s *huma.Schema, name string) bool { return slices.Contains(s.Required, name) },
	}).Parse(docsSource))
	var b bytes.Buffer
	err := t.Execute(&b, map[string]any{"Doc": doc, "Operations": byTag, "Schemas": doc.Components.Schemas.Map()})
	if err != nil {
		panic(fmt.Sprintf("api: the page of the document: %v", err))
	}
	return b.Bytes()
}

// codeSpans turns `words` in backticks into code.
func codeSpans(s string) template.HTML {
	parts := strings.Split(template.HTMLEscapeString(s), "`")
	for i := 1; i < len(parts); i += 2 {
		parts[i] = "<code>" + parts[i] + "</code>"
	}
	return template.HTML(strings.Join(parts, ""))
}

func pretty(v any) string {
	if text, ok := v.(string); ok {
		return text
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil || v == nil {
		return ""
	}
	return string(b)
}

// typeOf is a schema in few words.
func typeOf(s *huma.Schema) string {
	switch {
	case s == nil:
		return ""
	case s.Ref != "":
		return strings.TrimPrefix(s.Ref, "#/components/schemas/")
	case len(s.AnyOf) > 0:
		var parts []string
		for _, p := range s.AnyOf {
			parts = append(parts, typeOf(p))
		}
		return strings.Join(parts, " or ")
	case s.Type == huma.TypeArray:
		return "list of " + typeOf(s.Items)
	case s.Format != "" && s.Format != "int64" && s.Format != "double":
		return s.Type + " (" + s.Format + ")"
	}
	if values, ok := s.AdditionalProperties.(*huma.Schema); ok {
		return "object of " + typeOf(values)
	}
	return s.Type
}
