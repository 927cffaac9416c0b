package connector_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/mqtt311/mqtt311/connector"
)

// A flow that fails with an error of its own, and a catch for it.
func ExampleTry() {
	order := connector.RaiseError("SHOP:OUT_OF_STOCK", "no chairs left")
	flow := connector.Try(order, connector.Catch{
		Types: []connector.ErrorType{"SHOP:OUT_OF_STOCK"},
		Flow: connector.FlowFunc(func(_ context.Context, m *connector.Message) (*connector.Message, error) {
			fmt.Println("caught:", m.Error.Code, m.Error.Description)
			return m, nil
		}),
	})
	_, err := flow.Run(context.Background(), connector.NewMessage("orders", []byte("chair"), 1, 4))
	fmt.Println("failed:", err)
	// Output:
	// caught: SHOP:OUT_OF_STOCK no chairs left
	// failed: <nil>
}

// An error tells its kind by ancestry, and explains itself in two languages.
func ExampleError() {
	err := connector.AsError(context.DeadlineExceeded)
	fmt.Println(errors.Is(err, connector.TypeTimeout), errors.Is(err, connector.TypeConnectivity))
	fmt.Println(err.Code, err.Description)
	fmt.Println(err.Explain("zh"))
	// Output:
	// true false
	// CORE:RUNTIME [CORE:TIMEOUT] context deadline exceeded
	// 流运行超时，请调大 flow_timeout 或优化流。
}
