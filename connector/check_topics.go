package connector

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/mqtt311/mqtt311/connector/lint"
	"github.com/mqtt311/mqtt311/packets"
)

// faults maps the conformance statement of an error of package packets to the name of the fault.
var faults = map[string]string{
	"MQTT-4.7.3-1": "empty", "MQTT-4.7.3-3": "long", "MQTT-4.7.3-2": "nul", "MQTT-1.5.3-2": "nul",
	"MQTT-4.7.1-2": "hash", "MQTT-4.7.1-3": "plus", "MQTT-3.3.2-2": "wildcard",
}

func faultOf(err error) string {
	var e *packets.EncodeError
	if errors.As(err, &e) {
		if fault := faults[e.Spec]; fault != "" {
			return fault
		}
	}
	return "utf8"
}

// textFault returns why s is not a valid UTF-8 encoded string (section 1.5.3): "long", "nul" or
// "utf8", or "".
func textFault(s string) string {
	switch {
	case len(s) > 65535:
		return "long"
	case strings.Contains(s, "\x00"):
		return "nul"
	case !utf8.ValidString(s):
		return "utf8"
	}
	return ""
}

// topicFilter checks a filter of a consumer. alone is set if it is the only one.
func (c *checker) topicFilter(at, filter string, alone bool) {
	if err := packets.ValidTopicFilter(filter); err != nil {
		c.add("E105/"+faultOf(err), at)
		return
	}
	c.variable(at, filter)
	c.topicText(at, filter, alone)
}

// topicName checks a constant topic to publish to, and reports whether it is valid.
func (c *checker) topicName(at, name string) bool {
	if err := packets.ValidTopicName(name); err != nil {
		c.add("E106/"+faultOf(err), at)
		return false
	}
	c.variable(at, name)
	c.topicText(at, name, false)
	return true
}

// wide maps full-width characters to those that have a meaning in a topic or list.
var wide = map[rune]string{
	'／': "/", '＋': "+", '＃': "#", '＄': "$",
	'，': ",", '、': ",", '،': ",", '﹐': ",", '；': ",",
}

// topicText warns of what is valid in a topic but probably a mistake.
func (c *checker) topicText(at, topic string, alone bool) {
	if c.whiteSpace(at, topic) {
		return
	}
	for _, r := range topic {
		if sign := wide[r]; sign == "," {
			c.add("W224/list", at, quoted(r))
			return
		} else if sign != "" {
			c.add("W224/wide", at, quoted(r), sign)
			return
		}
	}
	if alone && (strings.Contains(topic, ", ") || strings.Contains(topic, "; ")) {
		c.add("W224/list", at, topic)
		return
	}
	switch {
	case topic == "/": // its meaning is clear
	case strings.HasPrefix(topic, "/"):
		c.add("W223/first", at, topic)
	case strings.HasSuffix(topic, "/"):
		c.add("W223/last", at, topic)
	case strings.Contains(topic, "//"):
		c.add("W223/inner", at, topic)
	}
}

// whiteSpace warns of leading or trailing white space, invisible characters, and quotation marks
// that YAML does not know. It reports whether it did.
func (c *checker) whiteSpace(at, s string) bool {
	for _, r := range s {
		if !lint.Visible(r) && !blank(r) {
			c.add("W222/hidden", at, escapedRune(string(r)))
			return true
		}
	}
	switch trimmed := strings.TrimFunc(s, blank); {
	case trimmed != s:
		c.add("W222/space", at, s)
		return true
	case quotes(trimmed):
		c.add("W227", at)
		return true
	}
	return false
}

func blank(r rune) bool { return unicode.IsSpace(r) || r == '\u00a0' || r == '\u3000' || r == '\u200b' }

// quotes reports whether a text is in quotation marks that YAML treats as text.
func quotes(s string) bool {
	first, _ := utf8.DecodeRuneInString(s)
	last, size := utf8.DecodeLastRuneInString(s)
	return len(s) > size && strings.ContainsRune("“”„‘’「『＂＇«", first) && strings.ContainsRune("“”‘’」』＂＇»", last)
}

func quoted(r rune) string { return fmt.Sprintf("“%c” U+%04X", r, r) }

// escapedRune returns the first character of s in the form U+0007.
func escapedRune(s string) string {
	r, _ := utf8.DecodeRuneInString(s)
	return fmt.Sprintf("U+%04X", r)
}

// variables matches variables that other programs replace: shells, Windows, Helm and Ansible.
var variables = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^\$[A-Za-z_][A-Za-z0-9_]*$|^%[A-Za-z_][A-Za-z0-9_]*%$|^\{\{.*\}\}$|^\$\(.*\)$|^<[A-Z_]+>$|^\$\{[^{}]*\}$`)
})

// isVariable is fast for most texts that are not variables.
func isVariable(s string) bool {
	return s != "" && strings.IndexByte("$%{<", s[0]) >= 0 && variables().MatchString(s)
}

// variable warns of a text that looks like a variable of another program.
func (c *checker) variable(at, s string) {
	if isVariable(s) && !strings.HasPrefix(s, "${") {
		c.add("W225/text", at)
	}
}

// secret warns of a secret that looks like a variable, because variables in secrets are not
// replaced.
func (c *checker) secret(at string, s Secret) {
	switch {
	case isVariable(string(s)) || strings.Contains(string(s), "${env:"):
		c.add("W225/secret", at)
	case quotes(string(s)):
		c.add("W227", at)
	case strings.TrimFunc(string(s), blank) != string(s):
		c.add("W222/space", at, "…")
	}
}

// entry returns the lint.Entry for a topic of the consumer.
func (p *ConsumerParams) entry(owner string, t TopicQoS) lint.Entry {
	return lint.Entry{Owner: owner, Subscribed: p.subscribed(t), Filter: plain(t.Topic)}
}

// filters returns the valid filters of all consumers.
func (cfg *Config) filters() *lint.Filters {
	set := lint.NewFilters()
	for _, name := range sortedKeys(cfg.Consumers) {
		p := cfg.Consumers[name]
		for _, t := range p.Topics {
			if packets.ValidTopicFilter(t.Topic) == nil {
				set.Add(p.entry(name, t))
			}
		}
	}
	return set
}

// overlaps warns of overlapping filters: the Server may deliver a message once for each
// [MQTT-3.3.5-1]. The same filter of two consumers is subscribed to only once.
func (c *checker) overlaps() {
	set := lint.NewFilters()
	names := sortedKeys(c.cfg.Consumers)
	for _, name := range names {
		p := c.cfg.Consumers[name]
		for i, t := range p.Topics {
			if packets.ValidTopicFilter(t.Topic) != nil {
				continue
			}
			e, at := p.entry(name, t), fmt.Sprintf("consumers.%s.topics[%d]", name, i)
			if o := set.Same(e); o != nil {
				c.add("W210/same", at, o.Filter)
			}
			if o := set.Other(e); o != nil {
				c.add("W210/other", at, o.Filter, o.Owner)
			}
			set.Add(e)
		}
	}
	if set.Exhausted() {
		i := slices.IndexFunc(names, func(name string) bool { return len(c.cfg.Consumers[name].Topics) > 0 })
		c.add("W210/many", "consumers."+names[i]+".topics")
	}
}
