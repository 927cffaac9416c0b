package terminal

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestJoint(t *testing.T) {
	for _, c := range []struct{ before, after, want string }{
		{"one", "two", "one two"},
		{"消息", "会话", "消息会话"},
		{"目录", "/var", "目录 /var"},
		{"在", "--drain-timeout", "在 --drain-timeout"},
		{"QoS", "承诺", "QoS 承诺"},
		{"结束，", "QoS", "结束，QoS"},
		{"QoS", "，结束", "QoS，结束"},
		{"消息", ", and", "消息, and"},
		{"QoS ", "承诺", "QoS 承诺"},
	} {
		require.Equal(t, c.want, c.before+Joint(c.before, c.after)+c.after)
	}
}
