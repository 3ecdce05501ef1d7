// Judges an expression by its tree: what it calls, what it reads, and what it could cost.

import type { ASTNode } from '@marcbachmann/cel-js'
import { RE2JS } from 're2js'

/** Name -> key -> value. Data, so that a change of it is a change of policy and not of code. */
export type LookupTables = Readonly<Record<string, Readonly<Record<string, string>>>>

export interface Reads {
  readonly names: readonly string[]
  readonly all: boolean
}

/** Anchored nowhere, as RE2 has it; `matches` takes text of any length in time that grows with it. */
export function compilePattern(text: string): { readonly matches: (value: string) => boolean } | { readonly fault: string } {
  try {
    const re = RE2JS.compile(text)
    return { matches: (value) => re.test(value) }
  } catch (error) {
    return { fault: `is none that RE2 knows: ${(error as Error).message.replace(/^error parsing regexp: /, '')}` }
  }
}

/** Which argument of a function is a pattern. */
const PATTERN_AT: Readonly<Record<string, number>> = { like: 1, capture: 1, first: 1, any: 1 }
const FUNCTIONS = new Set(
  'trim lower upper split join replace like capture first any date lookup size has string int bool startsWith endsWith contains indexOf lastIndexOf substring lowerAscii upperAscii all exists exists_one map filter'.split(
    ' ',
  ),
)
const COMPREHENSIONS = new Set(['all', 'exists', 'exists_one', 'map', 'filter'])

/** What is wrong, and where: counted from 0. */
export class Fault extends Error {
  readonly at: number
  constructor(message: string, at: number) {
    super(message)
    this.at = at
  }
}

export function isNamed(node: ASTNode | undefined, name: string): boolean {
  return node?.op === 'id' && node.args === name
}

/** Steps as a polynomial in the length of a list: a comprehension within a comprehension has the square of it. */
export type Cost = readonly number[]

export function costAt(cost: Cost, longest: number): number {
  return cost.reduce((sum, steps, power) => sum + steps * longest ** power, 0)
}

function add(a: Cost, b: Cost): Cost {
  return Array.from({ length: Math.max(a.length, b.length) }, (_, i) => (a[i] ?? 0) + (b[i] ?? 0))
}

interface Shape {
  readonly cost: Cost
  readonly reads: Readonly<Record<string, Reads>>
}

/** Walks the tree once: what is called, what is read, what it costs. Throws a Fault. */
export function shapeOf(root: ASTNode, tables: LookupTables): Shape {
  const names = new Map<string, Set<string>>()
  const whole = new Set<string>()
  const note = (variable: string, name: string) => names.set(variable, (names.get(variable) ?? new Set()).add(name))

  const all = (nodes: readonly ASTNode[]): Cost => nodes.reduce<Cost>((sum, node) => add(sum, walk(node)), [1])
  const walk = (node: ASTNode): Cost => {
    switch (node.op) {
      case 'value':
        return [1]
      case 'id':
        whole.add(node.args)
        return [1]
      case '.':
      case '.?': {
        const [of, name] = node.args
        if (of.op !== 'id') return add([1], walk(of))
        note(of.args, name)
        return [1]
      }
      case '[]':
      case '[?]': {
        const [of, key] = node.args
        if (of.op === 'id' && key.op === 'value' && typeof key.args === 'string') {
          note(of.args, key.args)
          return [1]
        }
        return all([of, key])
      }
      case 'call': {
        const [name, args] = node.args
        allowed(name, node)
        checkLiterals(name, args, tables)
        return add(LISTWISE.has(name) ? lengthOf(args[0]) : [name === 'split' ? SPLIT : 4], all(args))
      }
      case 'rcall': {
        const [name, receiver, args] = node.args
        allowed(name, node)
        if (!COMPREHENSIONS.has(name)) return add([4], all([receiver, ...args]))
        checkGrowth(args)
        return add(walk(receiver), times(lengthOf(receiver), all(args.slice(1))))
      }
      case 'in':
        return add(lengthOf(node.args[1]), all(node.args))
      case '+':
      case '==':
      case '!=':
        return add(node.args.some(isList) ? [4, 1] : [1], all(node.args))
      case 'list':
        return all(node.args)
      case 'map':
        return all(node.args.flat())
      case '!_':
      case '-_':
        return add([1], walk(node.args))
      default:
        return all(node.args as readonly ASTNode[])
    }
  }
  const cost = walk(root)
  const reads = Object.fromEntries(
    [...new Set([...names.keys(), ...whole])].map((variable) => [
      variable,
      { names: [...(names.get(variable) ?? [])], all: whole.has(variable) },
    ]),
  )
  return { cost, reads }
}

const LISTWISE = new Set(['join', 'first', 'any'])

/** What taking a text apart may cost, in steps: it has as many pieces as `split` lets pass. */
const SPLIT = 60

/** Known once the types were checked. */
function isList(node: ASTNode): boolean {
  return (node as { checkedType?: { kind?: string } }).checkedType?.kind === 'list' || node.op === 'list'
}

/** Within a loop nothing may be joined with itself, nor lists at all: what doubles in each of twenty loops fills any memory. */
function checkGrowth([variable, ...body]: readonly ASTNode[]): void {
  const name = variable?.op === 'id' ? variable.args : ''
  const visit = (node: ASTNode): number => {
    const inside = childrenOf(node).reduce((sum, child) => sum + visit(child), 0) + (isNamed(node, name) ? 1 : 0)
    if (node.op !== '+') return inside
    if (node.args.some(isList)) throw new Fault('lists are not joined within a loop', node.range.start)
    if (inside > 1) throw new Fault(`${name} is joined with itself within a loop`, node.range.start)
    return inside
  }
  for (const node of body) visit(node)
}

function childrenOf(node: ASTNode): readonly ASTNode[] {
  const found: ASTNode[] = []
  const take = (value: unknown): void => {
    if (Array.isArray(value)) for (const one of value) take(one)
    else if (typeof value === 'object' && value !== null && 'op' in value) found.push(value as ASTNode)
  }
  take(node.args)
  return found
}

/** What is written out is as long as it is; anything else is a list of the length that is asked about. */
function lengthOf(list: ASTNode | undefined): Cost {
  return list?.op === 'list' ? [4 + list.args.length] : [4, 1]
}

function times(a: Cost, b: Cost): Cost {
  const product = Array.from({ length: a.length + b.length - 1 }, () => 0)
  for (const [i, x] of a.entries()) for (const [j, y] of b.entries()) product[i + j] = (product[i + j] ?? 0) + x * y
  return product
}

function allowed(name: string, node: ASTNode): void {
  if (name === 'matches') throw new Fault("matches is not known here; write like(text, 'pattern')", node.range.start)
  if (node.op === 'rcall' && (name === 'split' || name === 'join'))
    throw new Fault(`write ${name}(…, …) instead of ….${name}(…)`, node.range.start)
  if (!FUNCTIONS.has(name)) throw new Fault(`there is no function ${name}; there are ${[...FUNCTIONS].join(', ')}`, node.range.start)
}

function checkLiterals(name: string, args: readonly ASTNode[], tables: LookupTables): void {
  const pattern = args[PATTERN_AT[name] ?? -1]
  if (pattern) {
    if (pattern.op !== 'value' || typeof pattern.args !== 'string') {
      throw new Fault(`${name} takes its pattern as a text in quotes, so that it can be judged now`, pattern.range.start)
    }
    const compiled = compilePattern(pattern.args)
    if ('fault' in compiled) throw new Fault(`the pattern ${compiled.fault}`, pattern.range.start)
  }
  const [table] = args
  if (name === 'lookup' && table) {
    if (table.op !== 'value' || typeof table.args !== 'string')
      throw new Fault('lookup takes the table’s name in quotes', table.range.start)
    if (!Object.hasOwn(tables, table.args)) {
      const there = Object.keys(tables)
      throw new Fault(`there is no lookup table ${table.args}${there.length ? `; there are ${there.join(', ')}` : ''}`, table.range.start)
    }
  }
}
