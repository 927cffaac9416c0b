package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/mqtt311/mqtt311/connector"
)

// httpStep posts each message. 2xx is success and its body the result; what a server says
// about the message itself, 4xx, is permanent; everything else is worth another try.
type httpStep struct {
	url    string
	header http.Header
	client *http.Client
}

func newHTTP(address string, headers []string) (*httpStep, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, usage("--http: give a URL as https://host/path", "--http：请给出形如 https://host/path 的 URL")
	}
	s := &httpStep{url: address, header: make(http.Header)}
	for _, h := range headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return nil, usage("--header: write 'Name: value'", "--header：请写成 'Name: value'")
		}
		if value, err = expand(strings.TrimSpace(value)); err != nil {
			return nil, err
		}
		s.header.Add(strings.TrimSpace(name), value)
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

var variable = regexp.MustCompile(`\$\{(\w+)\}`)

// expand puts variables of the environment in the place of ${NAME}.
func expand(value string) (string, error) {
	var err error
	out := variable.ReplaceAllStringFunc(value, func(v string) string {
		name := variable.FindStringSubmatch(v)[1]
		text, ok := os.LookupEnv(name)
		if !ok {
			err = usage("--header: %s is not in the environment", "--header：环境变量 %s 未设置", name)
		}
		return text
	})
	return out, err
}

func (s *httpStep) flow(consumer string) connector.Flow {
	return connector.FlowFunc(func(ctx context.Context, m *connector.Message) (*connector.Message, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(m.Payload.Blob))
		if err != nil {
			return nil, withoutURL(err)
		}
		req.Header.Set("Content-Type", "application/octet-stream")
		req.Header.Set("User-Agent", "mqtt311")
		req.Header.Set("MQTT-Consumer", printable(consumer))
		req.Header.Set("MQTT-Topic", printable(m.Topic()))
		req.Header.Set("MQTT-QoS", fmt.Sprint(m.Attribute[connector.AttributeQoS]))
		req.Header.Set("MQTT-Message-Id", fmt.Sprint(m.Attribute[connector.AttributeMessageID]))
		for name, values := range s.header {
			req.Header[name] = values
		}
		resp, err := s.client.Do(req)
		if err != nil {
			return nil, withoutURL(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, mostOutput+1))
		switch {
		case !good(resp.StatusCode) && lasting(resp.StatusCode):
			return nil, connector.Permanent(fmt.Errorf("http: %s", resp.Status))
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

func good(status int) bool { return status/100 == 2 }

// lasting reports whether a status is about the message, so that the same will have the same
// answer.
func lasting(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusProxyAuthRequired:
		return false // about the way there, which somebody may mend
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return status/100 == 4
}

// withoutURL leaves out the URL, which may hold a token.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Errorf("http: %w", err)
}

// printable percent-encodes what a header cannot hold.
func printable(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' || c == '%' {
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
