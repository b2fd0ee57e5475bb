// Package pages is what hark's web pages have in common: the frame with its style, safe headers,
// and who sits at the browser. Pages are rendered on the server and work without scripts.
package pages

import (
	"bytes"
	_ "embed"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"hark/internal/scope"
	"hark/internal/shard"
)

//go:embed frame.html
var frame string

// Parse returns a template of the frame around the content, which defines "content" and, if it
// likes, "head" and "aside".
func Parse(content string) *template.Template {
	return template.Must(template.Must(template.New("frame").Parse(frame)).Parse(content))
}

// Frame is what every page's data embeds.
type Frame struct {
	Title   string
	Visitor string // who is signed in; "" for nobody
	Message string // what went wrong
	Refresh int    // seconds after which the page loads anew; 0 never
}

// Render writes a page. Forms on it may lead to this server and, by redirection, to the URLs in
// leads.
func Render(w http.ResponseWriter, log *slog.Logger, status int, page *template.Template, data any, leads ...string) {
	var b bytes.Buffer
	if err := page.Execute(&b, data); err != nil {
		log.Error("a page cannot be rendered", "err", err)
		http.Error(w, "The page cannot be shown; the log says why.", http.StatusInternalServerError)
		return
	}
	var policy strings.Builder
	policy.WriteString("default-src 'none'; style-src 'unsafe-inline'; img-src http: https: data:; media-src http: https:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'")
	for _, lead := range leads {
		if u, err := url.Parse(lead); err == nil && u.Scheme != "" {
			if policy.WriteString(" " + u.Scheme + ":"); u.Host != "" {
				policy.WriteString("//" + u.Host)
			}
		}
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy.String())
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(b.Bytes()) // the visitor is gone
}

// cookie holds the visitor's access token, out of reach of scripts. It travels with a link from
// another site, as an app's way to /oauth/authorize is one, but not with its forms.
const cookie = "hark_token"

// Remember makes the browser act with the token from now on.
func Remember(w http.ResponseWriter, r *http.Request, token string) {
	http.SetCookie(w, &http.Cookie{Name: cookie, Value: token, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: Secure(r)})
}

// Forget makes the browser act for nobody.
func Forget(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: cookie, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: Secure(r)})
}

// Secure reports whether the browser speaks TLS, with hark or with a proxy before it. Who forges
// the header harms themselves.
func Secure(r *http.Request) bool {
	return r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https"
}

// Guard refuses forms that come from other sites, says so to the person, and logs it.
func Guard(log *slog.Logger, h http.Handler) http.Handler {
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		log.Warn("a form from another site was refused", "path", r.URL.Path, "origin", r.Header.Get("Origin"), "from", r.RemoteAddr)
		http.Error(w, "This form was sent by another site ("+r.Header.Get("Origin")+"), not by a page of hark, so nothing was done. If you meant to, open hark's own page and do it there.", http.StatusForbidden)
	}))
	return guard.Handler(h)
}

// Token returns what the browser acts with.
func Token(r *http.Request) (string, bool) {
	c, err := r.Cookie(cookie)
	if err != nil {
		return "", false
	}
	return c.Value, true
}

// Visitor returns who sits at the browser. Without anybody it is [http.ErrNoCookie].
func Visitor(s *shard.Shard, r *http.Request) (scope.Principal, error) {
	token, ok := Token(r)
	if !ok {
		return scope.Principal{}, http.ErrNoCookie
	}
	return s.Principal(token)
}

// SignInPath is where a visitor signs in, and then goes on to an address of this server.
func SignInPath(next string) string { return "/?next=" + url.QueryEscape(next) }

// Next returns where a visitor wanted to go: an address of this server, "/" for any other.
func Next(r *http.Request) string {
	next := r.FormValue("next")
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return next
}
