package unit

import _ "unsafe"
