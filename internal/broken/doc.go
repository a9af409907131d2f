// Package broken has switches, each of which breaks one rule that the durability promises depend on. In ordinary builds they
// are constants, and off. A build with the tag broken and the tag of one of the files breaks that rule; the test builds the
// tests of other packages so and shows that they fail.
package broken
