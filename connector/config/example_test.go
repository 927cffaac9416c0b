package config_test

import (
	"fmt"

	"github.com/mqtt311/mqtt311/connector/config"
)

func ExampleParse() {
	cfg, findings, err := config.Parse([]byte(`
connector:
  general:
    broker_url: 127.0.0.1:1883
    client_id: line-7
  advanced: {clean_session: false, auto_reconnect: true}
consumers:
  readings:
    订阅主题: [plant/+/reading]
    QoS: At Least Once
    确认模式: 流运行成功后确认
`), ".")
	fmt.Println(cfg.Consumers["readings"].Topics[0].Topic, cfg.Consumers["readings"].AckMode, err)
	for _, f := range findings {
		fmt.Println(f)
	}
	// Output:
	// plant/+/reading after_flow_success <nil>
	// 9:5: W203 consumers.readings.on_failure: has no limit of retries: a message that never succeeds is kept for ever and holds those behind it back → set retries and then: dead_letter
}

// All mistakes come at once, each with its place and what to do.
func ExampleParse_mistakes() {
	_, _, err := config.Parse([]byte(`
connector:
  general:
    broker_url: 127.0.0.1:1883
    client_id: line-7
    pasword: secret
consumers:
  readings: {topics: [plant/+/reading], qos: 3}
`), ".")
	fmt.Println(err)
	// Output:
	// connector: 2 mistakes in the configuration:
	//   6:5: E130 connector.general.pasword: is not a key that is known here → did you mean password?
	//   8:46: E139 consumers.readings.qos: "3" is none of At Most Once (0), At Least Once (1), Exactly Once (2) → choose one of them
}
