package console

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/api"
	"payscore-collector/internal/config"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/logging"
)

// A session is a random id in a cookie. Redis has, under the sum of the id, the sum of the
// id and of the token's sum: every worker can tell whose it is, as long as the token is
// valid, and who reads Redis can neither use the session nor try tokens.
const (
	sessionCookie  = "payscore_session"
	languageCookie = "payscore_language"
	sessionTime    = 12 * time.Hour
	sessionPrefix  = "payscore:console:session:"
)

func sessionKey(id []byte) string {
	sum := sha256.Sum256(id)
	return sessionPrefix + hex.EncodeToString(sum[:])
}

func sessionProof(id []byte, token [sha256.Size]byte) string {
	sum := sha256.Sum256(slices.Concat(id, token[:]))
	return hex.EncodeToString(sum[:])
}

func sessionID(r *http.Request) []byte {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return nil
	}
	id, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	if err != nil || len(id) != sha256.Size {
		return nil
	}
	return id
}

const via = "console"

// caller returns who asks for a page. signed is false, without an error, where a token is
// needed and missing.
func (c *Console) caller(r *http.Request) (caller api.Caller, signed bool, err error) {
	if c.api.Open() {
		caller, err = c.api.Local(r)
		caller.Via = via
		return caller, false, err
	}
	id := sessionID(r)
	if id == nil {
		return api.Caller{}, false, nil
	}
	proof, err := c.redis.Get(r.Context(), sessionKey(id)).Result()
	if errors.Is(err, redis.Nil) {
		return api.Caller{}, false, nil
	}
	if err != nil {
		return api.Caller{}, false, err
	}
	caller, found := c.api.Holder(func(sum [sha256.Size]byte) bool {
		return subtle.ConstantTimeCompare([]byte(sessionProof(id, sum)), []byte(proof)) == 1
	})
	if !found {
		return api.Caller{}, false, nil
	}
	caller.Via = via
	return caller, true, nil
}

// askToken shows the page to sign in instead of the one that was asked for.
func (v *view) askToken() {
	if v.r.Header.Get("HX-Request") != "" {
		v.w.Header().Set("HX-Refresh", "true") // the page is reloaded, and asks for a token
		v.w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if v.r.URL.Path == "/live" {
		v.w.WriteHeader(http.StatusNoContent) // an EventSource then stays closed
		return
	}
	next := ""
	if v.r.Method == http.MethodGet {
		next = v.r.URL.RequestURI()
	}
	v.signInForm(http.StatusUnauthorized, next, "")
}

type signIn struct{ Next, Problem string }

func (v *view) signInForm(status int, next, detail string) {
	v.Title = v.word("signin.title")
	if err := v.write(status, "signin", signIn{next, detail}); err != nil {
		v.fail(err)
	}
}

func (c *Console) signInPage(w http.ResponseWriter, r *http.Request) {
	v := c.newView(w, r)
	if c.api.Open() {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	v.signInForm(http.StatusOK, local(r.FormValue("next")), "")
}

func (c *Console) signIn(w http.ResponseWriter, r *http.Request) {
	v := c.newView(w, r)
	r.Body = http.MaxBytesReader(w, r.Body, mostForm)
	next := local(r.PostFormValue("next"))
	caller, sum, err := c.api.SignIn(r, r.PostFormValue("token"))
	if err != nil {
		status := http.StatusUnauthorized
		detail := v.word("signin.wrong")
		if p, ok := errors.AsType[*api.Problem](err); ok && p.Status == http.StatusTooManyRequests {
			status, detail = p.Status, v.word("signin.too_many")
		}
		v.signInForm(status, next, detail)
		return
	}
	var id [sha256.Size]byte
	_, _ = rand.Read(id[:]) // never fails
	if err := c.redis.Set(r.Context(), sessionKey(id[:]), sessionProof(id[:], sum), sessionTime).Err(); err != nil {
		v.fail(err)
		return
	}
	c.log.Info().Str(logging.FieldEvent, "console_signed_in").Str("by", via+":"+caller.Name).Msg("signed in to the console")
	http.SetCookie(w, cookie(r, sessionCookie, base64.RawURLEncoding.EncodeToString(id[:]), sessionTime, http.SameSiteStrictMode))
	http.Redirect(w, r, next, http.StatusSeeOther)
}

func (c *Console) signOut(w http.ResponseWriter, r *http.Request) {
	if id := sessionID(r); id != nil {
		if err := c.redis.Del(r.Context(), sessionKey(id)).Err(); err != nil {
			c.newView(w, r).fail(err) // the session would remain valid
			return
		}
	}
	http.SetCookie(w, cookie(r, sessionCookie, "", -1, http.SameSiteStrictMode))
	http.Redirect(w, r, "/signin", http.StatusSeeOther)
}

func cookie(r *http.Request, name, value string, age time.Duration, site http.SameSite) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: value, Path: "/", HttpOnly: true, SameSite: site, MaxAge: max(-1, int(age/time.Second)),
		Secure: r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https"),
	}
}

// local is a path of this console; the overview's for anything else.
func local(path string) string {
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n\t") {
		return "/"
	}
	return path
}

var languages = []explain.Language{explain.English, explain.Chinese}

// languageOf is the language that the switch has set, or the browser's.
func languageOf(r *http.Request) explain.Language {
	if set, err := r.Cookie(languageCookie); err == nil && slices.Contains(languages, explain.Language(set.Value)) {
		return explain.Language(set.Value)
	}
	return api.Language(r.Header.Get("Accept-Language"))
}

func (c *Console) switchLanguage(w http.ResponseWriter, r *http.Request) {
	if to := explain.Language(r.FormValue("to")); slices.Contains(languages, to) {
		http.SetCookie(w, cookie(r, languageCookie, string(to), 365*24*time.Hour, http.SameSiteLaxMode))
	}
	http.Redirect(w, r, local(r.FormValue("back")), http.StatusSeeOther)
}

// can reports whether the caller may do what needs a role.
func (v *view) can(role config.Role) bool { return v.Caller.Role.Can(role) }

// Operator and Billing report what the caller may do, for templates.
func (v *view) Operator() bool { return v.can(config.Operator) }

// Billing reports whether the caller may withdraw and reopen.
func (v *view) Billing() bool { return v.can(config.Billing) }
