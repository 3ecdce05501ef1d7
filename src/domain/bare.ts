// Objects whose keys come from outside: no key means anything to the language, `__proto__` and `constructor` included. Other
// than what Object.create(null) gives, these are quick to fill and to walk.

class Bare {}
Object.setPrototypeOf(Bare.prototype, null)
Reflect.deleteProperty(Bare.prototype, 'constructor')

export function bare<Value>(): Record<string, Value> {
  return new Bare() as Record<string, Value>
}
