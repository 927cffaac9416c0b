// Package explain takes MQTT 3.1.1 apart for people: Control Packets field by field, each with its
// offset, and what is wrong with the statement of the specification that says so.
//
// [Take] is one packet, a [Stream] the packets of one direction of a connection, and a [Conversation]
// what the packets of both directions mean to each other. [Hex] reads the ways in which people write
// bytes down. [Code] explains the codes and names that this project and the protocol use.
//
// Texts come in English and Chinese. No text has a control character, whatever the bytes were.
package explain

// A Text is the same text in both languages.
type Text struct{ EN, ZH string }

// In returns the text in "en" or "zh".
func (t Text) In(lang string) string {
	if lang == "zh" {
		return t.ZH
	}
	return t.EN
}

// same is a text that both languages write alike.
func same(s string) Text { return Text{s, s} }
