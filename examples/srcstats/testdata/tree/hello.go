// Hello greets.
package main

import (
	"fmt"

	"example.com/tree/greet"
)

func main() {
	fmt.Println(greet.Name("world")) // hello, world
}
