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

// TLSOptions say how to meet a server over TLS. The zero value trusts the roots
// of the system, shows no certificate, and verifies the host name.
//
// The three files are read anew for every connection, so that certificates can
// be replaced without a restart.
type TLSOptions struct {
	// ClientCert and ClientKey are the certificate that the client shows, with
	// the chain behind it if there is one, and its key: both or neither.
	ClientCert File
	ClientKey  File

	// ServerCert is a bundle of certificates that is trusted instead of the
	// roots of the system: authorities, or the server's own certificate.
	ServerCert File

	// ServerName is the name that the server's certificate must bear, and that
	// is sent for it to choose by. If empty, the host of the URL.
	ServerName string

	// ALPN lists the protocols to offer, such as "mqtt". If empty, none.
	ALPN []string

	// MinVersion is tls.VersionTLS12 or above. If zero, tls.VersionTLS12.
	MinVersion uint16

	// InsecureSkipVerify accepts any certificate of any server, so that
	// anybody on the way can read and change everything. It is for test
	// set-ups, and every connection logs a warning. Rather set ServerCert.
	InsecureSkipVerify bool

	// WithSystemRoots trusts the roots of the system beside those of ServerCert.
	WithSystemRoots bool

	// InsecureSkipHostName accepts a certificate for any name, as long as a trusted
	// authority issued it: whoever holds one such certificate can pose as the server. Every
	// connection logs a warning. Rather set ServerName.
	InsecureSkipHostName bool

	// Base holds what the fields above do not say, and is cloned for every
	// connection. If nil, an empty one. Fields above that are set win.
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

// check finds what is wrong without reading files.
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

// Config reads the files and returns the configuration for one connection to
// host, a host:port or a host name. A program can use it to check its files
// before it dials. Warnings go to log unless that is nil.
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

// skipHostName verifies all but the name, in resumed sessions too.
func skipHostName(c *tls.Config) {
	c.InsecureSkipVerify = true // crypto/tls has no switch for the name alone
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
	// By function, since Certificates alone shows none to a server whose list
	// of authorities does not fit, and leaves the user without a reason.
	c.Certificates = nil
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	return nil
}

// serverName takes the port, and the zone of an IPv6 address, off host.
func serverName(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host, _, _ = strings.Cut(host, "%")
	return host
}

// warnBefore is how long before its end a client certificate is warned of.
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
