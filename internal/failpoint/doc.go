// Package failpoint kills this process, as kill -9 does, at a place in the code that somebody chose. It is
// for tests of what a kill between two lines must not break. Without the build tag failpoints, Hit is
// nothing and costs nothing.
package failpoint
