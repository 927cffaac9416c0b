package connector

import (
	"errors"
	"testing"

	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/stretchr/testify/require"
)

// If both connections are down, Health reports the problem of the consumers', not that of the
// producers'.
func TestProblemOfTheConsumersComesFirst(t *testing.T) {
	c, err := New(Config{
		General:   General{BrokerURL: "127.0.0.1:1883", ClientID: "c"},
		Extension: Extension{ProducerConnection: SeparateConnection},
		Producers: map[string]ProducerParams{"out": {Topic: "t"}},
	}, Options{})
	require.NoError(t, err)
	consumers, producers := flow.NewError(flow.TypeTCP, errors.New("a")), flow.NewError(flow.TypeDNS, errors.New("b"))
	c.connectionFailed(c.out, producers)
	require.Equal(t, producers, c.Health().Problem)
	c.connectionFailed(c.conn, consumers)
	for range 100 {
		require.Equal(t, consumers, c.Health().Problem)
	}
	delete(c.trouble.problem, c.conn)
	require.Equal(t, producers, c.Health().Problem)
}
