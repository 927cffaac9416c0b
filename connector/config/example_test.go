package config_test

import (
	"errors"
	"fmt"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
)

// All errors are reported at once, each with its place and advice.
func ExampleParse() {
	_, _, err := config.Parse([]byte(`connector:
  general:
    broker_url: 127.0.0.1
    protcol: TLS
    client_id: line-7
consumers:
  readings:
    订阅主题: [plant/a#]
    QoS: At Least Once
`), ".")
	var mistakes *connector.ConfigError
	if errors.As(err, &mistakes) {
		for _, f := range mistakes.Findings {
			fmt.Println(f)
		}
	}
	// Output:
	// 3:17: E116 connector.general.broker_url: "127.0.0.1" is not host:port → write it as broker.example.com:1883, or [::1]:1883 for IPv6
	// 4:5: E130 connector.general.protcol: is not a key that is known here → did you mean protocol?
	// 8:12: E105 consumers.readings.订阅主题[0]: has '#' not as its whole last level [MQTT-4.7.1-2] → '#' is only allowed as the whole last level, as in plant/#
}
