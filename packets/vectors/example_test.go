package vectors_test

import (
	"fmt"

	"github.com/mqtt311/mqtt311/packets/vectors"
)

func ExampleJudge() {
	j := vectors.Judge([]byte{0x30, 5, 0, 3, 'a', '/', '+'})
	fmt.Println(j.Verdict == vectors.Broken, j.Offset, j.Spec)
	// Output:
	// true 6 MQTT-3.3.2-2
}
