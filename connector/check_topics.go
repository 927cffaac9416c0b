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

// faults names the reason of package packets for refusing a topic, by the statement that it
// gives.
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

// textFault says why s is no UTF-8 encoded string of section 1.5.3: long, nul or utf8, or
// nothing.
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

// topicFilter checks a filter of a consumer; alone says that it is the only one.
func (c *checker) topicFilter(at, filter string, alone bool) {
	if err := packets.ValidTopicFilter(filter); err != nil {
		c.add("E105/"+faultOf(err), at)
		return
	}
	c.variable(at, filter)
	c.topicText(at, filter, alone)
}

// topicName checks a topic to publish to that is the same for every message.
// It reports whether it may be.
func (c *checker) topicName(at, name string) bool {
	if err := packets.ValidTopicName(name); err != nil {
		c.add("E106/"+faultOf(err), at)
		return false
	}
	c.variable(at, name)
	c.topicText(at, name, false)
	return true
}

// wide are signs of other widths that stand for one that means something in a topic or a list.
var wide = map[rune]string{
	'／': "/", '＋': "+", '＃': "#", '＄': "$",
	'，': ",", '、': ",", '،': ",", '﹐': ",", '；': ",",
}

// topicText warns of what is legal in a topic and hardly ever meant.
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
	case topic == "/": // what it means is plain
	case strings.HasPrefix(topic, "/"):
		c.add("W223/first", at, topic)
	case strings.HasSuffix(topic, "/"):
		c.add("W223/last", at, topic)
	case strings.Contains(topic, "//"):
		c.add("W223/inner", at, topic)
	}
}

// whiteSpace warns of white space at an end of a text, of characters that nobody sees, and of
// quotation marks that YAML does not know; it reports whether it did.
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

// quotes reports whether a text stands in quotation marks that YAML takes for text.
func quotes(s string) bool {
	first, _ := utf8.DecodeRuneInString(s)
	last, size := utf8.DecodeLastRuneInString(s)
	return len(s) > size && strings.ContainsRune("“”„‘’「『＂＇«", first) && strings.ContainsRune("“”‘’」』＂＇»", last)
}

func quoted(r rune) string { return fmt.Sprintf("“%c” U+%04X", r, r) }

// escapedRune returns the first character of s as U+0007.
func escapedRune(s string) string {
	r, _ := utf8.DecodeRuneInString(s)
	return fmt.Sprintf("U+%04X", r)
}

// variables are texts that other programs replace: shells, Windows, templates of Helm and
// Ansible.
var variables = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^\$[A-Za-z_][A-Za-z0-9_]*$|^%[A-Za-z_][A-Za-z0-9_]*%$|^\{\{.*\}\}$|^\$\(.*\)$|^<[A-Z_]+>$|^\$\{[^{}]*\}$`)
})

// isVariable is cheap for what is none.
func isVariable(s string) bool {
	return s != "" && strings.IndexByte("$%{<", s[0]) >= 0 && variables().MatchString(s)
}

// variable warns of a text that looks like a variable of another program.
func (c *checker) variable(at, s string) {
	if isVariable(s) && !strings.HasPrefix(s, "${") {
		c.add("W225/text", at)
	}
}

// secret warns of a secret that looks like a variable: nothing is replaced in it.
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

// entry is a filter for a set of them.
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

// overlaps warns of filters that one message may match twice: the Server may then
// deliver it once for each [MQTT-3.3.5-1]. A filter that two consumers have in common is
// subscribed to once.
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
