// Parses Groovy files, as Jenkins does before it looks at the pipeline, and prints their syntax trees as JSON:
// one entry for each file named on the command line, {"statements": [...]} or {"error": "..."}. Nothing is run.
import groovy.json.JsonOutput
import org.codehaus.groovy.ast.expr.*
import org.codehaus.groovy.ast.stmt.*
import org.codehaus.groovy.control.CompilationUnit
import org.codehaus.groovy.control.CompilationFailedException
import org.codehaus.groovy.control.Phases
import org.codehaus.groovy.control.SourceUnit

class Tree {
    static Object of(node) {
        def tree = plain(node)
        tree.line = node.lineNumber
        tree
    }

    static List list(nodes) { nodes.collect { of(it) } }

    private static Map plain(node) {
        switch (node) {
            case ExpressionStatement: return plain(node.expression)
            case ReturnStatement: return plain(node.expression)
            case ConstantExpression: return [kind: 'constant', value: node.value]
            case GStringExpression: return [kind: 'gstring', text: node.text, values: list(node.values)]
            case ClosureExpression: return [kind: 'closure', statements: list(statements(node.code))]
            case MethodCallExpression: return [
                kind: 'call',
                name: node.methodAsString,
                on: node.implicitThis ? null : of(node.objectExpression),
                arguments: arguments(node.arguments)]
            case MapExpression: return [kind: 'map', entries: node.mapEntryExpressions.collect {
                [key: of(it.keyExpression), value: of(it.valueExpression)] }]
            case ListExpression: return [kind: 'list', items: list(node.expressions)]
            case VariableExpression: return [kind: 'variable', name: node.name]
            case PropertyExpression: return [kind: 'property', name: node.propertyAsString, on: of(node.objectExpression)]
            // A declaration is a binary expression to Groovy, and none of declarative Pipeline's statements.
            case DeclarationExpression: return [kind: 'declaration']
            case BinaryExpression: return [
                kind: 'binary', operator: node.operation.text, left: of(node.leftExpression), right: of(node.rightExpression)]
            default: return [kind: node.class.simpleName]
        }
    }

    private static List arguments(node) {
        def expressions = node instanceof TupleExpression ? node.expressions : [node]
        list(expressions)
    }

    static List statements(node) {
        node instanceof BlockStatement ? node.statements : [node]
    }
}

def parsed = args.collect { name ->
    try {
        def unit = new CompilationUnit()
        def source = unit.addSource(new File(name))
        unit.compile(Phases.CONVERSION)
        def module = source.AST
        [statements: Tree.list(module.statementBlock.statements),
         methods: module.methods.collect { it.name }]
    } catch (CompilationFailedException failure) {
        [error: failure.message]
    }
}
println JsonOutput.toJson(parsed)
