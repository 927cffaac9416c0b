package ui

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/mqtt311/mqtt311/connector/internal/chinese"
)

// pages are the functions that add the handlers of the pages.
var pages = []func(*Server){
	(*Server).statusPage,
	(*Server).configurationPage,
	(*Server).livePage,
	(*Server).healthPage,
	(*Server).deadLettersPage,
}

func (s *Server) routes() {
	s.handlers = map[string]http.Handler{"POST /api/login": http.HandlerFunc(s.login)}
	for _, page := range pages {
		page(s)
	}
}

// serve handles the requests that guard accepts: files of the page, and handlers below /api. Paths
// are not normalised.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if h := s.handlers[r.Method+" "+path]; h != nil {
		h.ServeHTTP(w, r)
		return
	}
	a, ok := assets[path]
	switch {
	case !ok:
		refuse(w, errNotFound)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		refuse(w, errMethod)
	default:
		w.Header().Set("Content-Type", a.kind)
		w.Write(a.text)
	}
}

// A fault is an error for the user, in both languages.
type fault struct {
	status int
	EN     string `json:"en"`
	ZH     string `json:"zh"`
}

func (f *fault) Error() string { return "ui: " + f.EN }

var (
	errNotFound = &fault{http.StatusNotFound, "There is nothing here.", "此处没有内容。"}
	errMethod   = &fault{http.StatusMethodNotAllowed, "The method is not allowed.", "不允许该方法。"}
	errBody     = &fault{http.StatusBadRequest, "The request is not what the page sends.", "请求内容不正确。"}
	errLarge    = &fault{http.StatusRequestEntityTooLarge, "The request is too large.", "请求内容过大。"}
)

// refuse responds with an error. If it is not a fault, its text is used for both languages.
func refuse(w http.ResponseWriter, err error) {
	var f *fault
	if !errors.As(err, &f) {
		f = &fault{http.StatusInternalServerError, err.Error(), chinese.Of(err.Error())}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.status)
	json.NewEncoder(w).Encode(f)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

// decode reads the body of a request.
func decode[T any](r *http.Request) (*T, error) {
	v := new(T)
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(v)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, errLarge
	case err != nil:
		return nil, errBody
	}
	return v, nil
}

// get adds a handler for GET /api/PATH, whose result is sent as JSON.
func (s *Server) get(path string, h func(r *http.Request) (any, error)) { s.handle("GET", path, h) }

// post adds a handler for POST /api/PATH, which reads its input with decode.
func (s *Server) post(path string, h func(r *http.Request) (any, error)) { s.handle("POST", path, h) }

func (s *Server) handle(method, path string, h func(r *http.Request) (any, error)) {
	s.handlers[method+" /api/"+path] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := h(r)
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, v)
	})
}

// lineTimeout is how long a browser may take for a line of a stream.
const lineTimeout = 10 * time.Second

// stream adds a handler for POST /api/PATH that sends values, each as a line of JSON, until it
// returns. Its context is canceled when the browser disconnects or the server shuts down. An error
// before the first value is sent as by post; later it is the last line, {"fault": {"en", "zh"}}.
func (s *Server) stream(path string, h func(ctx context.Context, r *http.Request, send func(any) error) error) {
	s.handlers["POST /api/"+path] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		begun := false
		send := func(v any) error {
			if !begun {
				begun = true
				w.Header().Set("Content-Type", "application/x-ndjson")
			}
			c.SetWriteDeadline(time.Now().Add(lineTimeout))
			if err := json.NewEncoder(w).Encode(v); err != nil {
				return err
			}
			return c.Flush()
		}
		err := h(r.Context(), r, send)
		var f *fault
		switch {
		case err == nil || r.Context().Err() != nil:
		case !begun:
			refuse(w, err)
		case errors.As(err, &f):
			send(map[string]*fault{"fault": f})
		default:
			send(map[string]*fault{"fault": {EN: err.Error(), ZH: chinese.Of(err.Error())}})
		}
	})
}

// contentType returns the type of a file of the page.
func contentType(name string) string {
	switch name[strings.LastIndexByte(name, '.')+1:] {
	case "html":
		return "text/html; charset=utf-8"
	case "css":
		return "text/css; charset=utf-8"
	case "js":
		return "text/javascript; charset=utf-8"
	}
	return "image/svg+xml"
}
