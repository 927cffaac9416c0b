package ui

import (
	"crypto/rand"
	"crypto/subtle"
	"mime"
	"net/http"
	"strings"
	"sync"
)

// headers are sent with every response. They allow only scripts and styles from files of this page,
// none inline.
var headers = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Referrer-Policy":              "no-referrer",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Cache-Control":                "no-store",
}

// guard accepts only requests from the page itself: the host must be that of this server, and the
// origin not another site.
func (s *Server) guard(next http.Handler) http.Handler {
	crossOrigin := http.NewCrossOriginProtection()
	crossOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { refuse(w, errCrossOrigin) }))
	next = crossOrigin.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range headers {
			w.Header().Set(name, value)
		}
		api := strings.HasPrefix(r.URL.Path, "/api/")
		switch {
		case !s.hosts[strings.ToLower(r.Host)]:
			refuse(w, errHost)
		case api && !s.ownOrigin(r):
			refuse(w, errCrossOrigin)
		case api && r.Method == http.MethodPost && !isJSON(r):
			refuse(w, errNoJSON)
		case api && r.URL.Path != "/api/login" && !s.sessions.has(r):
			refuse(w, errToken)
		default:
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			next.ServeHTTP(w, r)
		}
	})
}

// ownOrigin reports whether a request for data is from this page, according to the browser. It also
// covers safe methods, which [http.CrossOriginProtection] always allows.
func (s *Server) ownOrigin(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return false
	}
	origin := r.Header.Get("Origin")
	scheme, host, _ := strings.Cut(origin, "://")
	return origin == "" || strings.EqualFold(host, r.Host) && (scheme == "https") == (s.opts.TLS != nil)
}

func isJSON(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && kind == "application/json"
}

var (
	errHost        = &fault{http.StatusForbidden, "The page does not answer to this host name.", "此页面不接受该主机名。"}
	errCrossOrigin = &fault{http.StatusForbidden, "Another site sent this request.", "该请求来自其他网站。"}
	errNoJSON      = &fault{http.StatusUnsupportedMediaType, "The request is not JSON.", "请求不是 JSON。"}
	errToken       = &fault{http.StatusUnauthorized, "Open the page with the address that mqtt311 printed: it has the token.", "请使用 mqtt311 输出的完整地址打开页面，其中含有令牌。"}
)

// sessions are the browsers that have presented the token. Each has a cookie with its own value.
type sessions struct {
	name   string // of the cookie
	secure bool

	mu     sync.Mutex // guards values
	values []string   // oldest first
}

const mostSessions = 16

// login exchanges the token for a cookie.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	in, err := decode[struct{ Token string }](r)
	if err != nil {
		refuse(w, err)
		return
	}
	if subtle.ConstantTimeCompare([]byte(in.Token), []byte(s.token)) != 1 {
		s.log.Warn("ui: refused a wrong token", "from", r.RemoteAddr)
		refuse(w, errToken)
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: s.sessions.name, Value: s.sessions.add(), Path: "/", HttpOnly: true, Secure: s.sessions.secure, SameSite: http.SameSiteStrictMode,
	})
	answer(w, struct{}{})
}

// add returns the value of a new session's cookie.
func (c *sessions) add() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	value := rand.Text()
	if c.values = append(c.values, value); len(c.values) > mostSessions {
		c.values = c.values[1:]
	}
	return value
}

// has reports whether a request has the cookie of a session.
func (c *sessions) has(r *http.Request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := 0
	for _, cookie := range r.CookiesNamed(c.name) {
		for _, value := range c.values {
			known |= subtle.ConstantTimeCompare([]byte(cookie.Value), []byte(value))
		}
	}
	return known == 1
}
