package ws_test

import (
	"crypto/tls"

	"github.com/mqtt311/mqtt311/internal/testcert"
)

func tlsConfig(p *testcert.Pair) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{p.TLS()}}
}
