package webhook

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"payscore-collector/internal/textsafe"
)

// mostLocation is how long a redirect's target may be in a log line, in characters.
const mostLocation = 120

// redirect says where an answer redirects to, or returns "". It shows scheme, host and
// path of Location, since BILLING_WEBHOOK_URL mostly lacks the slash at the end, www or
// https. It shows no query, and no piece of the URL's own path, which may be a secret.
func redirect(resp *http.Response, from *url.URL) string {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return ""
	}
	to, err := resp.Location()
	if err != nil || to.Host == "" {
		return ": it redirects, and does not say where to"
	}
	own, path := from.EscapedPath(), to.EscapedPath()
	switch {
	case strings.Trim(own, "/") == "" && strings.Trim(path, "/") == "":
	case path == own:
		path = " with the same path"
	case path == own+"/":
		path = " with a slash at the end of the path"
	case path+"/" == own:
		path = " without the slash at the end of the path"
	default:
		for _, piece := range pieces(from) {
			path = strings.ReplaceAll(path, piece, "…")
		}
	}
	return ": it redirects to " + textsafe.Clip(to.Scheme+"://"+to.Host+path, mostLocation) + ", which is not followed; write that into BILLING_WEBHOOK_URL if it is billing's"
}

// pieces returns the parts of a URL that may be a secret; short ones cannot be.
func pieces(u *url.URL) []string {
	all := strings.Split(u.EscapedPath(), "/")
	for _, values := range u.Query() {
		all = append(all, values...)
	}
	if password, ok := u.User.Password(); ok {
		all = append(all, password)
	}
	return slices.DeleteFunc(all, func(piece string) bool { return len(piece) < 4 })
}
