package proxy_test

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/transport/internal/failure"
)

const user, password = "proxyuser", failure.Canary

// A stub is a proxy that knows a single name, broker.test, and requires a login.
type stub struct {
	addr   string
	leads  string // host:port of the server behind it
	mu     sync.Mutex
	asked  []string
	accept func(s *stub, conn net.Conn)
}

// start starts a proxy that serves each connection with accept.
func start(t *testing.T, leads string, config *tls.Config, accept func(*stub, net.Conn)) *stub {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &stub{addr: ln.Addr().String(), leads: leads, accept: accept}
	if config != nil {
		ln = tls.NewListener(ln, config)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); s.accept(s, conn) }()
		}
	}()
	return s
}

// targets returns the addresses that clients asked for.
func (s *stub) targets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *stub) note(target string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, target)
}

// join copies both ways until both have ended, half-closes included.
func (s *stub) join(client io.ReadWriter, r io.Reader) {
	server, err := net.Dial("tcp", s.leads)
	if err != nil {
		return
	}
	defer server.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(server, r)
		server.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(client, server)
	if half, ok := client.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	<-done
}

func serveHTTP(s *stub, conn net.Conn) {
	r := bufio.NewReader(conn)
	request, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	s.note(request.Method + " " + request.RequestURI + " " + request.Host)
	host, _, _ := net.SplitHostPort(request.RequestURI)
	login := "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	switch {
	case request.Header.Get("Proxy-Authorization") != login:
		io.WriteString(conn, "HTTP/1.1 407 not "+request.Header.Get("Proxy-Authorization")+"\r\nContent-Length: 0\r\n\r\n")
	case host != "broker.test":
		io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\n\r\n")
	default:
		io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.0 200 Connection established\r\nX: y\r\n\r\n")
		s.join(conn, r)
	}
}

// serveSOCKS implements as much of RFC 1928 and RFC 1929 as a CONNECT by name needs.
func serveSOCKS(s *stub, conn net.Conn) {
	take := func(n int) []byte {
		b := make([]byte, n)
		io.ReadFull(conn, b)
		return b
	}
	methods := take(int(take(2)[1]))
	if len(methods) < 2 {
		conn.Write([]byte{5, 0xff})
		return
	}
	conn.Write([]byte{5, 2})
	gotUser := string(take(int(take(2)[1])))
	gotPassword := string(take(int(take(1)[0])))
	if gotUser != user || gotPassword != password {
		conn.Write([]byte{1, 1})
		return
	}
	conn.Write([]byte{1, 0})
	head := take(4)
	if head[3] != 3 {
		conn.Write([]byte{5, 8, 0, 1, 0, 0, 0, 0, 0, 0})
		return
	}
	host := string(take(int(take(1)[0])))
	s.note(host + ":" + strconv.Itoa(int(binary.BigEndian.Uint16(take(2)))))
	if host != "broker.test" {
		conn.Write([]byte{5, 2, 0, 1, 0, 0, 0, 0, 0, 0})
		return
	}
	conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	s.join(conn, conn)
}
