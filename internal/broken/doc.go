// Package broken has switches that break, one at a time, a rule on which the promises stand. All of them
// are off, and constants, in every ordinary build. With the build tag broken, and one of the tags of the
// other files, the program is wrong in that one way: so a test shows that the checks notice.
package broken
