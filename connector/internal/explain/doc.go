// Package explain describes MQTT 3.1.1 to the user: Control Packets field by field, with offsets, and their faults with the
// statement of the specification that they violate.
//
// [Take] explains one packet, a [Stream] those of one direction of a connection, and a [Conversation] how the packets
// of both directions relate. [Hex] reads the usual ways of writing bytes. [Code] explains the codes and names of the protocol
// and of this project.
//
// Texts are in English and Chinese, and contain no control characters, whatever the bytes are.
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

// same returns a text that is the same in both languages.
func same(s string) Text { return Text{s, s} }
