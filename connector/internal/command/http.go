package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mqtt311/mqtt311/connector/flow"
)

// An httpStep posts each message. A 2xx status is success, with the body as the result. A 4xx status about the
// message itself is permanent; any other failure is retried. While a server asks to be left alone, with 429 or 503
// and Retry-After, all messages wait, and none is charged.
type httpStep struct {
	url    string
	header http.Header
	client *http.Client

	mu    sync.Mutex
	until time.Time // nothing is posted before this time
}

// mostRetryAfter limits the time that a server can ask for.
const mostRetryAfter = time.Hour

func newHTTP(address string, headers []string) (*httpStep, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, Usage("--http: give a URL as https://host/path", "--http：请给出形如 https://host/path 的 URL")
	}
	s := &httpStep{url: address}
	if s.header, err = httpHeader("header", headers, os.LookupEnv); err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	s.client = &http.Client{
		Transport: transport,
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			if next.URL.Host != via[0].URL.Host || next.URL.Scheme != via[0].URL.Scheme {
				return errors.New("the server redirects to another host, which is not followed")
			}
			if next.Method != via[0].Method {
				return errors.New("the server redirects without the message, which is not followed")
			}
			if len(via) > 5 {
				return errors.New("the server redirects too often")
			}
			return nil
		},
	}
	return s, nil
}

var variable = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\$\{(\w+)\}`) })

func (s *httpStep) flow(consumer string) flow.Flow {
	return flow.Func(func(ctx context.Context, m *flow.Message) (*flow.Message, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(m.Payload.Blob))
		if err != nil {
			return nil, withoutURL(err)
		}
		req.Header.Set("Content-Type", "application/octet-stream")
		req.Header.Set("User-Agent", "mqtt311")
		req.Header.Set("MQTT-Consumer", printable(consumer))
		req.Header.Set("MQTT-Topic", printable(m.Topic()))
		req.Header.Set("MQTT-QoS", fmt.Sprint(m.Attribute[flow.AttributeQoS]))
		req.Header.Set("MQTT-Message-Id", fmt.Sprint(m.Attribute[flow.AttributeMessageID]))
		for name, values := range s.header {
			req.Header[name] = values
		}
		if err := s.wait(ctx); err != nil {
			return nil, err
		}
		resp, err := s.client.Do(req)
		if err != nil {
			return nil, withoutURL(err)
		}
		defer resp.Body.Close()
		if after := retryAfter(resp); after > 0 {
			s.hold(after)
			return nil, flow.Uncharged(fmt.Errorf("http: %s, and it asks to wait %s", resp.Status, after.Round(time.Second)))
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, mostOutput+1))
		switch {
		case !good(resp.StatusCode) && lasting(resp.StatusCode):
			return nil, flow.Permanent(fmt.Errorf("http: %s", resp.Status))
		case !good(resp.StatusCode):
			return nil, fmt.Errorf("http: %s", resp.Status)
		case err != nil:
			return nil, withoutURL(err)
		case len(body) > mostOutput:
			return nil, fmt.Errorf("http: the answer has more than %d bytes", mostOutput)
		}
		return with(m, body, resp.Header.Get("Content-Type")), nil
	})
}

// retryAfter returns for how long a busy server asks to be left alone; 0 if it does not say.
func retryAfter(resp *http.Response) time.Duration {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	v := resp.Header.Get("Retry-After")
	if seconds, err := strconv.ParseInt(v, 10, 64); err == nil && seconds >= 0 {
		return time.Duration(min(seconds, int64(mostRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(time.Until(at), 0), mostRetryAfter)
	}
	return 0
}

func (s *httpStep) hold(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if until := time.Now().Add(d); until.After(s.until) {
		s.until = until
	}
}

// wait waits until the server may be asked again. Messages that waited do not all continue at once.
func (s *httpStep) wait(ctx context.Context) error {
	for {
		s.mu.Lock()
		d := time.Until(s.until)
		s.mu.Unlock()
		if d <= 0 {
			return nil
		}
		t := time.NewTimer(d + rand.N(min(d/10, time.Second)+1))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return flow.Uncharged(fmt.Errorf("http: the server asked to wait %s longer: %w", d.Round(time.Second), context.Cause(ctx)))
		}
	}
}

func good(status int) bool { return status/100 == 2 }

// lasting reports whether a status is about the message, so that posting it again would have the
// same result.
func lasting(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusProxyAuthRequired:
		return false // about access, not about this message
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return status/100 == 4
}

// withoutURL removes the URL, which may contain a token, from an error.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Errorf("http: %w", err)
}

// printable percent-encodes characters that a header cannot hold, and leading and trailing blanks, which
// HTTP strips.
func printable(s string) string {
	var b strings.Builder
	first := len(s) - len(strings.TrimLeft(s, " "))
	behind := len(strings.TrimRight(s, " "))
	for i, c := range []byte(s) {
		if c < ' ' || c > '~' || c == '%' || i < first || i >= behind {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

func (s *httpStep) close() error {
	s.client.CloseIdleConnections()
	return nil
}
