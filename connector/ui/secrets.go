package ui

import (
	"regexp"
	"slices"
	"strings"

	"github.com/mqtt311/mqtt311/connector/lint"
	"go.yaml.in/yaml/v3"
)

// A hidden is a part of a text that the page must not see: bytes of the value of a node.
type hidden struct {
	node  *yaml.Node
	path  string // of keys as written
	parts []part // of the value; never empty
}

type part struct{ start, end int }

// A secrecy says which parts of the values below a key are secret.
type secrecy int

const (
	open       secrecy = iota // what looks like a secret
	address                   // user and password before a host, and the query
	everything                // all text, except sources of secrets
	privateKey                // PEM text
)

// secretKeys are the keys of the schema that have secrets, and their labels, folded.
var secretKeys = map[string]secrecy{
	"password": everything, "密码": everything, "wsheaders": everything, "websocket请求头": everything,
	"proxy": address, "代理": address, "brokerurl": address, "failoverurls": address, "备用服务端": address,
	"tlsclientkey": privateKey, "tls客户端key": privateKey,
}

// suspicious matches keys whose values may be secrets, by mistake or in a place for anchors.
var suspicious = regexp.MustCompile(`passw|pasw|pwd|passphrase|secret|token|apikey|authorization|credential|密码|口令|密钥|令牌`)

// secrecyOf returns the secrecy below a key, given that around it.
func secrecyOf(key string, value *yaml.Node, around secrecy) secrecy {
	folded := lint.Fold(key)
	if around == everything || around == privateKey {
		return around
	}
	if s, ok := secretKeys[folded]; ok {
		return s
	}
	if suspicious.MatchString(folded) && value.Kind == yaml.ScalarNode {
		return everything
	}
	return around
}

// maxNodes limits the number of nodes, which nested aliases could multiply.
const maxNodes = 1 << 20

// A walker visits every value of a document, in every place where it occurs.
type walker struct {
	left  int
	visit func(n *yaml.Node, path string, s secrecy)
}

// walk visits the values below a node. It returns false if there are too many.
func (w *walker) walk(n *yaml.Node, path string, s secrecy, depth int) bool {
	if w.left--; w.left < 0 || depth > 200 {
		return false
	}
	switch n.Kind {
	case yaml.AliasNode:
		return w.walk(n.Alias, path, s, depth+1)
	case yaml.ScalarNode:
		w.visit(n, path, s)
	case yaml.SequenceNode:
		for i, item := range n.Content {
			below := s
			if strings.HasSuffix(path, "\x00exec") {
				below = everything // the arguments of a command
				if i == 0 {
					below = open
				}
			}
			if !w.walk(item, path+"\x00-", below, depth+1) {
				return false
			}
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			below, at := secrecyOf(key.Value, value, s), path+"\x00"+key.Value
			switch {
			case key.Tag == "!!merge":
				below, at = s, path
				if value.Kind == yaml.SequenceNode {
					for _, source := range value.Content {
						if !w.walk(source, path, s, depth+1) {
							return false
						}
					}
					continue
				}
			case (s == everything || s == privateKey) && slices.Contains([]string{"file", "env", "path", "timeout", "exec"}, key.Value):
				below = open
			}
			w.visit(key, path, open)
			if !w.walk(value, at, below, depth+1) {
				return false
			}
		}
	}
	return true
}

// secretParts returns the parts of a text that are secret.
func secretParts(text string, s secrecy) []part {
	switch {
	case strings.Contains(text, "PRIVATE KEY") && strings.Contains(text, "-----BEGIN"),
		s == everything && text != "",
		s == privateKey && strings.ContainsAny(text, "\r\n"):
		return []part{{0, len(text)}}
	}
	return addressParts(text, s == address)
}

var userInfo = regexp.MustCompile(`(?i)^([a-z0-9+.-]+://)?[^/?#\s]*@`)

// addressParts returns the secrets in a URL: the password before the host and, in an address, the
// query.
func addressParts(text string, isAddress bool) (out []part) {
	at := 0
	for _, m := range schemes.FindAllStringIndex(text, -1) {
		if p, ok := passwordIn(text, m[1]); ok && m[1] >= at {
			out, at = append(out, p), p.end
		}
	}
	if isAddress && len(schemes.FindStringIndex(text)) == 0 && userInfo.MatchString(text) {
		if p, ok := passwordIn(text, 0); ok {
			out, at = append(out, p), p.end
		}
	}
	if i := strings.IndexByte(text[at:], '?'); isAddress && i >= 0 && at+i+1 < len(text) {
		out = append(out, part{at + i + 1, len(text)})
	}
	return out
}

var schemes = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://`)

// passwordIn returns the password in an authority that starts at a byte. Without a colon everything
// before the @ may be a token.
func passwordIn(text string, start int) (part, bool) {
	end := len(text)
	if i := strings.IndexAny(text[start:], "/?# \t\r\n"); i >= 0 {
		end = start + i
	}
	at := strings.LastIndexByte(text[start:end], '@')
	if at <= 0 {
		if i := strings.LastIndexByte(text[start:], '@'); i > 0 && strings.Contains(text[start:start+i], ":") && !strings.ContainsAny(text[start:start+i], " \t\r\n") {
			at = i // a password with an unescaped slash
		} else {
			return part{}, false
		}
	}
	from := start
	if i := strings.IndexByte(text[start:start+at], ':'); i >= 0 {
		from = start + i + 1
	}
	return part{from, start + at}, from < start+at
}

// Comments that contain such a pair are not shown.
var secretComment = regexp.MustCompile(`(?i)(` + suspicious.String() + `|proxy|代理|tls_client_key)[^:：=]*[:：=]\s*\S|://[^/\s]*@|PRIVATE KEY|[a-z0-9+/=]{40}`)
