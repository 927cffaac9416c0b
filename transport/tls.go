package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"
)

// TLSOptions configure TLS. The zero value trusts the root certificates of the system, verifies the
// host name and presents no client certificate.
//
// The files are read again for every connection, so certificates can be replaced without a restart.
type TLSOptions struct {
	// ClientCert is the certificate that the client presents, followed by its chain if there is
	// one, and ClientKey is its key. Set both or neither.
	ClientCert File
	ClientKey  File

	// ServerCert holds the certificates that are trusted instead of the roots of the system:
	// certificate authorities, or the server's own certificate.
	ServerCert File

	// ServerName is the name that the server's certificate must be valid for, and that is sent to
	// the server (SNI). If empty, it is the host of the URL.
	ServerName string

	// ALPN lists the application protocols to offer, such as "mqtt". If empty, none are offered.
	ALPN []string

	// MinVersion is the minimum version of TLS, tls.VersionTLS12 or above. If zero,
	// tls.VersionTLS12.
	MinVersion uint16

	// InsecureSkipVerify accepts any server certificate, so that anyone on the network path can
	// read and change everything. It is meant for tests; each connection logs a warning. Prefer
	// ServerCert.
	InsecureSkipVerify bool

	// WithSystemRoots trusts the roots of the system in addition to ServerCert.
	WithSystemRoots bool

	// InsecureSkipHostName accepts a trusted certificate for any host name, so that anyone who has
	// such a certificate can impersonate the server. Each connection logs a warning. Prefer
	// ServerName.
	InsecureSkipHostName bool

	// Base sets everything else; it is cloned for every connection. The fields above, where set,
	// override those of Base. If nil, an empty tls.Config is used.
	Base *tls.Config
}

func (o *TLSOptions) clone() *TLSOptions {
	if o == nil {
		return nil
	}
	c := *o
	c.ALPN = slices.Clone(o.ALPN)
	return &c
}

// check validates the options without reading files.
func (o *TLSOptions) check() error {
	var errs []error
	if o.ClientCert != "" && o.ClientKey == "" {
		errs = append(errs, errors.New("there is a client certificate and no client key: give both or neither"))
	}
	if o.ClientCert == "" && o.ClientKey != "" {
		errs = append(errs, errors.New("there is a client key and no client certificate: give both or neither"))
	}
	if o.MinVersion != 0 && o.MinVersion < tls.VersionTLS12 {
		errs = append(errs, errors.New("MinVersion is below TLS 1.2"))
	}
	return errors.Join(errs...)
}

// Config reads the files and returns the configuration for one connection to host, which is a
// host:port or a host name. A program can call it to check its files before it dials. Warnings are
// logged to log, unless it is nil.
func (o *TLSOptions) Config(host string, log *slog.Logger) (*tls.Config, error) {
	if o == nil {
		o = new(TLSOptions)
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	c := new(tls.Config)
	if o.Base != nil {
		c = o.Base.Clone()
	}
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12, o.MinVersion)
	if len(o.ALPN) > 0 {
		c.NextProtos = slices.Clone(o.ALPN)
	}
	if o.ServerName != "" {
		c.ServerName = o.ServerName
	} else if c.ServerName == "" {
		c.ServerName = serverName(host)
	}
	c.InsecureSkipVerify = c.InsecureSkipVerify || o.InsecureSkipVerify
	if err := errors.Join(o.loadServerCert(c), o.loadClientCert(c, log)); err != nil {
		return nil, err
	}
	warnInsecure(c, host, log)
	if o.InsecureSkipHostName && !c.InsecureSkipVerify {
		skipHostName(c)
		if log != nil {
			log.Warn("transport: the name in the server's certificate is not verified: whoever holds any trusted certificate can pose as the server", "server", host)
		}
	}
	return c, nil
}

func (o *TLSOptions) loadServerCert(c *tls.Config) error {
	if o.ServerCert == "" {
		return nil
	}
	certs, err := o.ServerCert.certificates()
	if err != nil {
		return fmt.Errorf("server certificate: %w", err)
	}
	c.RootCAs = x509.NewCertPool()
	if o.WithSystemRoots {
		if c.RootCAs, err = x509.SystemCertPool(); err != nil {
			return fmt.Errorf("certificates of the system: %w", err)
		}
	}
	for _, cert := range certs {
		c.RootCAs.AddCert(cert)
	}
	return nil
}

// skipHostName makes c verify everything except the host name, in resumed sessions too.
func skipHostName(c *tls.Config) {
	c.InsecureSkipVerify = true // crypto/tls has no option to skip only the name
	next := c.VerifyConnection
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errors.New("the server showed no certificate")
		}
		opts := x509.VerifyOptions{Roots: c.RootCAs, Intermediates: x509.NewCertPool()}
		if c.Time != nil {
			opts.CurrentTime = c.Time()
		}
		for _, cert := range s.PeerCertificates[1:] {
			opts.Intermediates.AddCert(cert)
		}
		if _, err := s.PeerCertificates[0].Verify(opts); err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: s.PeerCertificates, Err: err}
		}
		if next != nil {
			return next(s)
		}
		return nil
	}
}

func (o *TLSOptions) loadClientCert(c *tls.Config, log *slog.Logger) error {
	if o.ClientCert == "" {
		return nil
	}
	certPEM, err := o.ClientCert.pem()
	if err != nil {
		return fmt.Errorf("client certificate: %w", err)
	}
	keyPEM, err := o.ClientKey.keyPEM()
	if err != nil {
		return fmt.Errorf("client key: %w", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return fmt.Errorf("client certificate %s and key %s: %w", o.ClientCert, o.ClientKey, err)
	}
	warnExpiry(pair.Leaf, o.ClientCert, log)
	// Use GetClientCertificate, because with Certificates no certificate is sent to a server whose
	// list of authorities does not match, which leaves the user without a reason.
	c.Certificates = nil
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	return nil
}

// serverName removes the port, and the zone of an IPv6 address, from host.
func serverName(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host, _, _ = strings.Cut(host, "%")
	return host
}

// warnBefore is how long before a client certificate expires a warning is logged.
const warnBefore = 14 * 24 * time.Hour

func warnExpiry(cert *x509.Certificate, file File, log *slog.Logger) {
	if log == nil || cert == nil {
		return
	}
	switch left := time.Until(cert.NotAfter); {
	case left <= 0:
		log.Warn("transport: the client certificate has ended", "certificate", file, "ended", cert.NotAfter)
	case left < warnBefore:
		log.Warn("transport: the client certificate ends soon", "certificate", file, "ends", cert.NotAfter)
	}
}

func warnInsecure(c *tls.Config, host string, log *slog.Logger) {
	if log == nil {
		return
	}
	if c.InsecureSkipVerify && c.VerifyConnection == nil && c.VerifyPeerCertificate == nil {
		log.Warn("transport: the server's certificate is not verified: anybody on the way can read and change everything", "server", host)
	}
	if c.KeyLogWriter != nil {
		log.Warn("transport: the keys of TLS connections are written to a log", "server", host)
	}
}
