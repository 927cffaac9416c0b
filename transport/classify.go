package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"net"
	"strings"
	"syscall"
	"time"
)

// codeOf returns the code of the hint for err, or "" if there is none.
func codeOf(err error) string {
	var dial *DialError
	if !errors.As(err, &dial) {
		return cause(err)
	}
	switch {
	case dial.Step == StepParse:
		return "options"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout-" + string(dial.Step)
	}
	switch code := cause(dial.Err); code {
	case "":
	case "closed":
		return "closed-" + string(dial.Step)
	default:
		return code
	}
	switch dial.Step {
	case StepTLS:
		return "tls-options"
	case StepResolve:
		return "resolve-failed"
	}
	return ""
}

// cause returns the code for the root cause of err.
func cause(err error) string {
	var coded interface{ HintCode() string } // as the errors of transport/ws and transport/proxy
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(err, &coded) && coded.HintCode() != "":
		return coded.HintCode()
	case errors.As(err, &dns):
		if dns.IsNotFound {
			return "no-such-host"
		}
		return "resolve-failed"
	case errors.Is(err, ErrSpeaksTLS):
		return "speaks-tls"
	case errors.Is(err, ErrSpeaksHTTP):
		return "speaks-http"
	case errors.As(err, &op) && op.Op == "remote error":
		return alertCode(op.Err.Error())
	}
	if code := certificateCode(err); code != "" {
		return code
	}
	return socketCode(err)
}

func certificateCode(err error) string {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &authority):
		return "unknown-authority"
	case errors.As(err, &name):
		if len(name.Certificate.DNSNames)+len(name.Certificate.IPAddresses) == 0 {
			return "no-names"
		}
		return "wrong-name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		if time.Now().Before(invalid.Cert.NotBefore) {
			return "not-yet-valid"
		}
		return "expired"
	case errors.As(err, &invalid):
		return "unfit-certificate"
	case errors.As(err, &record):
		return "not-tls"
	case strings.Contains(err.Error(), "unsupported protocol version"):
		return "old-tls"
	}
	return ""
}

// alertCode returns the code for a TLS alert of the server, which crypto/tls reports as text.
func alertCode(alert string) string {
	switch strings.TrimPrefix(alert, "tls: ") {
	case "certificate required":
		return "client-certificate-required"
	case "bad certificate", "unsupported certificate", "revoked certificate", "expired certificate",
		"unknown certificate", "unknown certificate authority", "access denied":
		return "client-certificate-refused"
	case "protocol version not supported":
		return "old-tls"
	case "no application protocol":
		return "alpn"
	case "unrecognized name":
		return "unknown-server-name"
	}
	return "tls-refused"
}

func socketCode(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.EADDRNOTAVAIL), strings.HasSuffix(err.Error(), "no suitable address found"), strings.HasSuffix(err.Error(), "mismatched local address type"):
		return "local-address"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "unreachable"
	case errors.Is(err, fs.ErrNotExist):
		return "no-such-file"
	case errors.Is(err, fs.ErrPermission):
		return "permission"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "closed"
	}
	return ""
}
