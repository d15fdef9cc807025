// A signed bundle by FerEdge.cs: signed.exe BUNDLE KEY prints its labels, or status and message of the failure.
using System;
using System.IO;
using FerEdge;

static class Signed
{
    static void Main(string[] arguments)
    {
        try
        {
            using (var recognizer = new Recognizer(arguments[0], publicKey: File.ReadAllText(arguments[1])))
                Console.WriteLine(string.Join(" ", recognizer.Labels));
        }
        catch (FerEdgeException error)
        {
            Console.WriteLine(error.Status + " " + error.Message);
        }
    }
}
